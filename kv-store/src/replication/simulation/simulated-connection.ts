import { KvError } from "../../errors.ts";
import { LIMITS } from "../../limits.ts";
import type { MessageFromOrigin, MessageToOrigin } from "../messages.ts";
import { OriginSession, type OriginEffect, type OriginInput } from "../origin-session.ts";
import type { OriginRead } from "../origin-subscription.ts";
import type { Random } from "./random.ts";
import type { SimulatedOrigin } from "./simulated-origin.ts";
import { StreamCheck } from "./stream-check.ts";
import type { Timeline } from "./timeline.ts";

/** One connection as the origin sees it. */
export interface OriginLink {
  send(message: MessageFromOrigin): void;
  cut(): void;
}

/** Carries out what one session decides, each read and write after a while. */
export class SimulatedConnection {
  readonly #link: OriginLink;
  readonly #origin: SimulatedOrigin;
  readonly #timeline: Timeline;
  readonly #random: Random;
  readonly #session: OriginSession;
  readonly #check: StreamCheck;
  /** The origin's monotonic clock has its own zero. */
  readonly #clockStartMs: number;
  #isClosed = false;

  constructor(
    link: OriginLink,
    parts: {
      readonly origin: SimulatedOrigin;
      readonly timeline: Timeline;
      readonly random: Random;
    },
  ) {
    this.#link = link;
    this.#origin = parts.origin;
    this.#timeline = parts.timeline;
    this.#random = parts.random;
    this.#clockStartMs = this.#random.below(100_000);
    this.#session = new OriginSession(this.#nowMs);
    this.#check = new StreamCheck();
    this.#tick();
  }

  receive(message: MessageToOrigin): void {
    if (!this.#isClosed) this.#check.received(message);
    this.take({ kind: "message", message, nowMs: this.#nowMs });
  }

  take(input: OriginInput): void {
    if (this.#isClosed) return;
    let effects: ReadonlyArray<OriginEffect>;
    try {
      effects = this.#session.handle(input);
    } catch (error) {
      // As the real connection does with what was damaged on the way. Anything else is a defect.
      if (!(error instanceof KvError)) throw error;
      return this.#link.cut();
    }
    if (input.kind === "committed") {
      const last = input.batches.at(-1);
      if (last !== undefined) this.#check.committed(input.namespace, last.revision);
    }
    for (const effect of effects) this.#perform(effect);
    // Where reads fail the next one waits.
    if (this.#origin.isSound) this.#check.checkNothingLeft();
  }

  close(): void {
    this.#isClosed = true;
    this.#origin.forget(this);
  }

  get #nowMs(): number {
    return this.#timeline.nowMs - this.#clockStartMs;
  }

  #tick(): void {
    if (this.#isClosed) return;
    this.take({ kind: "tick", nowMs: this.#nowMs });
    if (!this.#isClosed) this.#check.looked(this.#timeline.nowMs);
    this.#timeline.after(LIMITS.tickMs, () => this.#tick());
  }

  #perform(effect: OriginEffect): void {
    switch (effect.kind) {
      case "send":
        this.#check.sent(effect.message, this.#timeline.nowMs);
        return this.#link.send(effect.message);
      case "cut":
        this.#check.end();
        return this.#link.cut();
      case "read-positions":
        return this.#later(() => this.#readPositions(effect));
      case "write":
        return this.#later(() => this.#write(effect));
      default:
        this.#check.readBegun();
        return this.#later(() => this.#read(effect));
    }
  }

  #later(action: () => void): void {
    this.#timeline.after(this.#random.below(20), () => {
      if (!this.#isClosed) action();
    });
  }

  #readPositions({ echoMs, namespaces }: OriginEffect & { kind: "read-positions" }): void {
    const points = [...namespaces].map(
      ([subscription, namespace]) => [subscription, this.#origin.point(namespace)] as const,
    );
    const answer = { kind: "positions-read", echoMs, points: new Map(points) } as const;
    // More may be committed between a read and the arrival of its answer.
    const atMs = this.#origin.nowMs();
    this.#later(() => this.take({ ...answer, atMs }));
  }

  #write(write: OriginEffect & { kind: "write" }): void {
    const { id, namespace, operations, conditions } = write;
    const settle = (outcome: Extract<OriginInput, { kind: "write-settled" }>["outcome"]): void =>
      this.take({ kind: "write-settled", id, outcome });
    this.#origin.write({ id, namespace, operations, conditions, settle });
  }

  #read(read: OriginRead): void {
    const input = this.#answerOf(read);
    this.#check.read(read, input);
    this.#later(() => {
      this.#check.readEnded();
      this.take(input);
    });
  }

  #answerOf(read: OriginRead): OriginInput & { kind: "log-read" | "entries-read" | "read-failed" } {
    const { subscription, namespace } = read;
    if (this.#origin.isFaulty && this.#random.chance(0.03)) {
      return { kind: "read-failed", subscription, code: "storage_failed" };
    }
    if (this.#origin.history(namespace).isDeleted) {
      return { kind: "read-failed", subscription, code: "namespace_not_found" };
    }
    return read.kind === "read-log"
      ? { kind: "log-read", subscription, batches: this.#origin.readLog(read) }
      : { kind: "entries-read", subscription, ...this.#origin.readEntries(read) };
  }
}
