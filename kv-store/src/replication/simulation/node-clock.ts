import { OriginTime } from "../../replica/origin-time.ts";
import type { Random } from "./random.ts";
import type { Timeline } from "./timeline.ts";

/** The clocks of a node's machine, and what its process makes of them. */
export class NodeClock {
  readonly #timeline: Timeline;
  readonly #random: Random;
  /** When its monotonic clock was at zero: another moment in each life. */
  #startMs = 0;
  /** How far its disk says that the origin's time has come. */
  #savedSeconds: number | undefined;
  /** What its wall clock shows more than it should. */
  #errorMs = 0;
  /** The origin's, as far as the node knows it. */
  #time: OriginTime;

  constructor(parts: { readonly timeline: Timeline; readonly random: Random }) {
    this.#timeline = parts.timeline;
    this.#random = parts.random;
    this.#time = this.#startTime();
  }

  /** By the monotonic clock. */
  get nowMs(): number {
    return this.#timeline.nowMs - this.#startMs;
  }

  /** What the monotonic clock calls a moment, by the simulation's; null for none. */
  momentOf(nodeMs: number | null): number | null {
    return nodeMs === null ? null : nodeMs + this.#startMs;
  }

  /** As a heartbeat says. */
  heard(heard: Parameters<OriginTime["heard"]>[0]): void {
    this.#time.heard(heard);
  }

  /** Whether reads show no entry that expires then. */
  hides(expiresAt: number): boolean {
    return this.#time.isExpired(expiresAt);
  }

  /** What the node takes the origin's clock to show. */
  originNowMs(): number | undefined {
    return this.#time.nowMs();
  }

  /** Somebody sets the wall clock. */
  set(errorMs: number): void {
    this.#errorMs = errorMs;
  }

  /** A process starts. */
  start(): void {
    this.#startMs = this.#timeline.nowMs - this.#random.below(20_000);
    this.#time = this.#startTime();
  }

  /** The power ends, and with it the last of what was not flushed. */
  endPower(): void {
    this.#savedSeconds = Math.max(0, (this.#savedSeconds ?? 0) - this.#random.below(10));
  }

  #startTime(): OriginTime {
    const clock = {
      nowMs: () => this.#timeline.nowMs + this.#errorMs,
      monotonicMs: () => this.nowMs,
    };
    const save = (seconds: number): void => void (this.#savedSeconds = seconds);
    return new OriginTime({ clock, saved: this.#savedSeconds, save });
  }
}
