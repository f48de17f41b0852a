import { resolve } from "node:path";
import { NodeName, Region } from "@atoll/control-plane/contract";
import { type IngressChoice, startAgent } from "@atoll/edge-runtime";
import { SiteDirectories } from "@atoll/sites";
import type { z } from "zod";
import { createLog } from "../log.ts";
import { lockData } from "../processes/data-lock.ts";
import type { Running } from "../processes/serve-until-stopped.ts";
import { UsageError } from "../settings.ts";

export interface NodeCommandOptions {
  readonly controlPlane: string;
  readonly region: string;
  readonly data: string;
  readonly join?: string;
  readonly name?: string;
  readonly port: number;
  readonly ingress: IngressChoice;
  readonly egressAllow?: ReadonlyArray<string>;
  /** In MB. */
  readonly memoryBudget?: number;
  /** In MB. */
  readonly kvBudget?: number;
  readonly metricsPort?: number;
  readonly requireSandbox: boolean;
}

/** Exit code of a node that has to be started again; `atoll up` does that, and so does any supervisor. */
const FATAL = 70;

/** `atoll node`. Resolves when it serves, which does not need the control plane after the first time. */
export async function runNode(options: NodeCommandOptions): Promise<Running> {
  const region = parseOption(Region, { option: "--region", text: options.region });
  const name = parseOption(NodeName, { option: "--name", text: options.name ?? options.region });
  const controlPlaneUrls = options.controlPlane.split(",").map((url) => parseUrl(url.trim()));
  const log = createLog(name);
  const dataDirectory = resolve(options.data);
  await using opening = new AsyncDisposableStack();
  const lock = await lockData(dataDirectory, { kind: "node" });
  opening.defer(() => lock.close());
  const agent = await startAgent({
    name,
    region,
    controlPlaneUrls,
    joinToken: options.join,
    dataDirectory,
    host: "127.0.0.1",
    port: options.port,
    ingress: options.ingress,
    egressAllow: options.egressAllow ?? [],
    ...(options.memoryBudget === undefined
      ? {}
      : { memoryBudgetBytes: options.memoryBudget * 1024 * 1024 }),
    kvBudgetBytes: options.kvBudget === undefined ? undefined : options.kvBudget * 1024 * 1024,
    metricsPort: options.metricsPort,
    requireSandbox: options.requireSandbox,
    createSites: (site) => new SiteDirectories(site),
    onFatal: (err) => {
      log.fatal({ err }, "the node ends, to be started again: it can't go on in this process");
      process.exit(FATAL);
    },
    log,
  });
  opening.defer(() => agent.close());
  const opened = opening.move();
  return { close: () => opened.disposeAsync() };
}

function parseOption<Schema extends z.ZodType>(
  schema: Schema,
  given: { readonly option: string; readonly text: string },
): z.output<Schema> {
  const parsed = schema.safeParse(given.text);
  if (parsed.success) return parsed.data;
  throw new UsageError(
    `${given.option} '${given.text}' is no good: ${parsed.error.issues[0]?.message}`,
  );
}

function parseUrl(text: string): string {
  if (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)) return new URL(text).origin;
  throw new UsageError(`--control-plane '${text}' is no http:// or https:// URL`);
}
