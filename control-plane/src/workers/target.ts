import type { Context } from "hono";
import { WorkerName } from "../contract/index.ts";
import { ControlPlaneError } from "../errors.ts";
import type { ApiEnvironment, Principal } from "../http/request-context.ts";

/** The caller's worker that `:worker` of the path names. Throws `invalid_worker_name`. */
export function targetOf(context: Context<ApiEnvironment>): {
  readonly principal: Principal;
  readonly name: WorkerName;
} {
  const text = context.req.param("worker") ?? "";
  const name = WorkerName.safeParse(text);
  if (name.success) return { principal: context.var.principal, name: name.data };
  const rule = name.error.issues[0]?.message ?? "";
  throw new ControlPlaneError(
    "invalid_worker_name",
    `'${text.slice(0, 100)}' cannot be the name of a worker: ${rule}`,
  );
}
