import type { Clock } from "../clock.ts";
import { LIMITS } from "../limits.ts";
import type { NamespaceId } from "../names.ts";
import type { PostgresConnections, Statement } from "./postgres-connections.ts";

const HOLD: Statement = {
  name: "hold",
  text: `INSERT INTO log_holds (namespace_id, until_ms) SELECT id, $2 FROM namespaces WHERE namespace = $1
    ON CONFLICT (namespace_id) DO UPDATE SET until_ms = excluded.until_ms`,
};

// A hold is made for longer than it has to last, so that not every page of a copy has to renew it.
const HOLD_MS = LIMITS.logHoldMs + LIMITS.logHoldRenewMs;

/** Whether a log is held. By the wall clocks of the control planes, which are seconds apart at most. */
export function isLogHeld(untilMs: number | null, nowMs: number): boolean {
  // One that lasts for longer than any was made before a clock was set back.
  return untilMs !== null && untilMs > nowMs && untilMs <= nowMs + 2 * HOLD_MS;
}

/** Holds of the logs of namespaces that are being copied, which all control planes go by. */
export class PostgresLogHolds {
  readonly #connections: PostgresConnections;
  readonly #clock: Clock;
  /** Until when this process has made each hold. */
  readonly #untilMs = new Map<NamespaceId, number>();

  constructor(connections: PostgresConnections, clock: Clock) {
    this.#connections = connections;
    this.#clock = clock;
  }

  /** The log is held for `LIMITS.logHoldMs` at least. Does nothing for a namespace that does not exist. */
  async hold(namespace: NamespaceId): Promise<void> {
    const nowMs = this.#clock.nowMs();
    const untilMs = this.#untilMs.get(namespace) ?? 0;
    if (untilMs >= nowMs + LIMITS.logHoldMs && untilMs <= nowMs + HOLD_MS) return;
    await this.#connections.run(HOLD, [namespace, nowMs + HOLD_MS]);
    // What is forgotten is only renewed too often.
    if (this.#untilMs.size >= LIMITS.subscriptionsMax) this.#untilMs.clear();
    this.#untilMs.set(namespace, nowMs + HOLD_MS);
  }
}
