import { KvError } from "@atoll/kv-store";
import type { Context } from "hono";
import { HTTPException } from "hono/http-exception";
import type { Logger } from "pino";
import { ControlPlaneError } from "../errors.ts";
import { refusalOf } from "../kv-namespaces/refusal.ts";
import { failure } from "./envelope.ts";
import type { ApiEnvironment } from "./request-context.ts";

/** Turns whatever a handler threw into the answer: errors of the table in full, anything else as `internal`. */
export function errorResponse(log: Logger) {
  return (thrown: Error, context: Context<ApiEnvironment>): Response => {
    const { requestId } = context.var;
    const error = toControlPlaneError(thrown);
    if (error.status >= 500) {
      const { method, path } = context.req;
      log.error({ err: thrown, cause: thrown.cause, requestId, method, path }, "request failed");
    }
    // Of writes to keys, the next second is another one.
    const seconds = error.code === "kv_rate_exceeded" ? 1 : error.retryAfterSeconds;
    return Response.json(failure(error, requestId), {
      status: error.status,
      ...(seconds === undefined ? {} : { headers: { "retry-after": String(seconds) } }),
    });
  };
}

function toControlPlaneError(thrown: Error): ControlPlaneError {
  if (thrown instanceof ControlPlaneError) return thrown;
  if (thrown instanceof KvError) return refusalOf(thrown);
  // Hono's own middleware refuses with these: of its refusals we use only that of large bodies.
  if (thrown instanceof HTTPException && thrown.status === 413) {
    return new ControlPlaneError("body_too_large", "The body is larger than this call allows");
  }
  return new ControlPlaneError(
    "internal",
    "Internal error: the log of the control plane says more",
    {
      cause: thrown,
    },
  );
}
