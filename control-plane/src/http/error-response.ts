import { KvError, type Clock } from "@atoll/kv-store";
import type { Context } from "hono";
import { HTTPException } from "hono/http-exception";
import type { Logger } from "pino";
import { dayEndMs } from "../contract/index.ts";
import { sqliteUnavailable } from "../database/unavailable.ts";
import { ControlPlaneError, type ControlPlaneErrorCode } from "../errors.ts";
import { refusalOf } from "../kv-namespaces/refusal.ts";
import { LIMITS } from "../limits.ts";
import { failure } from "./envelope.ts";
import type { ApiEnvironment } from "./request-context.ts";

export interface ErrorResponseOptions {
  readonly log: Logger;
  readonly clock: Pick<Clock, "nowMs">;
}

/** What of an account's day has nothing left until the next one. */
const OF_THE_DAY: ReadonlySet<ControlPlaneErrorCode> = new Set([
  "kv_daily_writes_exceeded",
  "kv_daily_reads_exceeded",
  "kv_daily_lists_exceeded",
]);

/** Turns whatever a handler threw into the answer: errors of the table in full, anything else as `internal`. */
export function errorResponse({ log, clock }: ErrorResponseOptions) {
  return (thrown: Error, context: Context<ApiEnvironment>): Response => {
    const { requestId } = context.var;
    const error = toControlPlaneError(thrown);
    if (error.status >= 500) {
      const { method, path } = context.req;
      log.error({ err: thrown, cause: thrown.cause, requestId, method, path }, "request failed");
    }
    const seconds = retryAfterSeconds(error, clock.nowMs());
    return Response.json(failure(error, requestId), {
      status: error.status,
      ...(seconds === undefined ? {} : { headers: { "retry-after": String(seconds) } }),
    });
  };
}

function retryAfterSeconds(error: ControlPlaneError, nowMs: number): number | undefined {
  if (OF_THE_DAY.has(error.code)) return Math.ceil((dayEndMs(nowMs) - nowMs) / 1_000);
  // Of writes to keys, the next second is another one.
  if (error.code === "kv_rate_exceeded") return 1;
  if (error.retryAfterSeconds !== undefined) return error.retryAfterSeconds;
  return error.status === 503 ? LIMITS.unavailableRetrySeconds : undefined;
}

function toControlPlaneError(thrown: Error): ControlPlaneError {
  if (thrown instanceof ControlPlaneError) return thrown;
  if (thrown instanceof KvError) return refusalOf(thrown);
  const unavailable = sqliteUnavailable(thrown);
  if (unavailable !== undefined) return unavailable;
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
