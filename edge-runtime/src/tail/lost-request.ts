import type { EdgeErrorCode } from "../errors.ts";
import { HEADERS } from "../config/cell-interface.ts";
import type { RequestFailure } from "../ingress/ingress.ts";
import type { CellEvent } from "./cell-events.schemas.ts";

/** What is told of requests that a cell took with it, in the words of Workers' logs. */
const OUTCOMES: Partial<Record<EdgeErrorCode, string>> = {
  cpu_exceeded: "exceededCpu",
  memory_exceeded: "exceededMemory",
  // No word of theirs means this, and this one passes for an error.
  day_quota_exceeded: "unknown",
  cell_lost: "unknown",
};
/** What the outcome alone does not say. */
const REASONS: Partial<Record<EdgeErrorCode, string>> = {
  day_quota_exceeded:
    "Daily limit exceeded: the account has used up its requests or CPU time of the day, until 00:00 UTC",
};
// As workerd does: by parts of the name.
const SENSITIVE = /auth|cookie|jwt|key|secret|token/i;
const HIDDEN = "REDACTED";

/**
 * The event of a request whose cell can't tell it any more; `undefined` when the request failed for a reason
 * that is not its worker's, or that the worker's cell tells itself.
 */
export function lostRequest(failure: RequestFailure, nowMs: number): CellEvent | undefined {
  const outcome = OUTCOMES[failure.code];
  if (outcome === undefined) return undefined;
  const { method, head } = failure;
  const headers: Record<string, string> = {};
  const hidden: Record<string, string> = {};
  let scheme = "http";
  for (let index = 0; index < head.headers.length; index += 2) {
    const name = (head.headers[index] ?? "").toLowerCase();
    const value = head.headers[index + 1] ?? "";
    if (name === HEADERS.protocol) scheme = value;
    if (name === HEADERS.protocol || name === HEADERS.cf || name === "__proto__") continue;
    if (SENSITIVE.test(name)) hidden[name] = value;
    headers[name] = SENSITIVE.test(name) ? HIDDEN : value;
  }
  const request = { url: `${scheme}://${head.host}${head.target}`, method, headers };
  const message = REASONS[failure.code];
  const exceptions = message === undefined ? [] : [{ name: "Error", message, timestamp: nowMs }];
  return { ...lostEvent(outcome, { request }, nowMs), exceptions, hidden };
}

/** The same of any call. */
export function lostEvent(
  outcome: string,
  event: NonNullable<CellEvent["event"]>,
  nowMs: number,
): CellEvent {
  return {
    entrypoint: null,
    outcome,
    eventTimestamp: nowMs,
    event,
    logs: [],
    exceptions: [],
    diagnosticsChannelEvents: [],
  };
}
