import { summaryOf } from "./entries-summary.ts";
import type { SimulatedNode } from "./simulated-node.ts";
import type { SimulatedOrigin } from "./simulated-origin.ts";
import { LAG_MAX_MS, STEADY_MS } from "./steady.ts";
import type { Timeline } from "./timeline.ts";

/** What is promised of entries that expire. */
export class ExpiryCheck {
  readonly #timeline: Timeline;
  readonly #origin: SimulatedOrigin;
  readonly #isSound: boolean;
  /** The latest expiry of what each node has hidden. */
  readonly #hiddenUpTo = new Map<SimulatedNode, number>();

  constructor(parts: {
    readonly timeline: Timeline;
    readonly origin: SimulatedOrigin;
    readonly isSound: boolean;
  }) {
    this.#timeline = parts.timeline;
    this.#origin = parts.origin;
    this.#isSound = parts.isSound;
  }

  /** Its machine may have lost what it knew of the time. */
  timeLost(node: SimulatedNode): void {
    this.#hiddenUpTo.delete(node);
  }

  /** All entries expire by one rule: never before the origin's time, never again shown, and soon where all is well. */
  check(node: SimulatedNode): void {
    for (const namespace of node.wanted.keys()) {
      const holding = node.holding(namespace);
      if (holding === undefined) continue;
      for (const expiresAt of summaryOf(holding.entries).expiries) {
        this.#checkOne(node, expiresAt);
      }
    }
  }

  #checkOne(node: SimulatedNode, expiresAt: number): void {
    const hiddenUpTo = this.#hiddenUpTo.get(node) ?? 0;
    const expiresMs = expiresAt * 1_000;
    if (node.clock.hides(expiresAt)) {
      this.#hiddenUpTo.set(node, Math.max(hiddenUpTo, expiresAt));
      if (expiresMs <= this.#origin.latestMs) return;
      throw new Error(
        `${expiryOf(node, expiresAt)} is hidden when the origin is at ${this.#origin.latestMs}`,
      );
    }
    if (expiresAt <= hiddenUpTo) throw new Error(`${expiryOf(node, expiresAt)} is shown again`);
    const steadyMs = Math.max(node.steadySinceMs, this.#origin.clockSetMs);
    if (!this.#isSound || this.#timeline.nowMs - steadyMs < STEADY_MS) return;
    if (expiresMs + LAG_MAX_MS > this.#origin.nowMs()) return;
    throw new Error(
      `${expiryOf(node, expiresAt)} is shown when the origin is at ${this.#origin.nowMs()}`,
    );
  }
}

function expiryOf(node: SimulatedNode, expiresAt: number): string {
  return `node ${node.number}, an entry that expires at ${expiresAt}:`;
}
