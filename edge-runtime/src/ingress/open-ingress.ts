import { EdgeError } from "../errors.ts";
import { BuiltinIngress } from "./builtin/builtin-ingress.ts";
import { HaproxyIngress } from "./haproxy/haproxy-ingress.ts";
import { findHaproxy } from "./haproxy/haproxy-process.ts";
import type { Ingress, IngressOptions } from "./ingress.ts";

/** `auto` is HAProxy where it is installed and new enough. */
export type IngressChoice = "auto" | "haproxy" | "builtin";

export interface OpenIngressOptions extends Pick<
  IngressOptions,
  "address" | "region" | "activator" | "onServed" | "onFailure" | "log"
> {
  readonly choice: IngressChoice;
  readonly port: number;
  /** For HAProxy's files; on the file system of the cells' sockets. */
  readonly directory: string;
}

/** Resolves when it listens. Rejected with `ingress_unavailable` when HAProxy is asked for and not there. */
export async function openIngress(options: OpenIngressOptions): Promise<Ingress> {
  const { choice, log } = options;
  if (choice === "builtin") return BuiltinIngress.open(options);
  const haproxy = await findHaproxy();
  if (haproxy.kind === "found") {
    log.info({ version: haproxy.version }, "HAProxy is the ingress");
    return HaproxyIngress.open({ ...options, binary: haproxy.path });
  }
  if (choice === "haproxy") {
    throw new EdgeError(
      "ingress_unavailable",
      `${haproxy.reason}. Install it (apt-get install haproxy), or choose --ingress builtin`,
    );
  }
  log.info({ reason: haproxy.reason }, "the built-in ingress serves");
  return BuiltinIngress.open(options);
}
