import type { Random } from "./random.ts";
import type { SimulatedNode } from "./simulated-node.ts";
import type { SimulatedOrigin } from "./simulated-origin.ts";
import type { Timeline } from "./timeline.ts";

interface Link {
  isOpen: boolean;
  /** Until then nothing arrives, in either direction, and nobody is told. */
  silentUntilMs: number;
  close(): void;
}

// Far worse than any real network, so that a few simulated minutes meet every combination.
const LOST = 0.04;
const REPEATED = 0.03;
const LATE = 0.03;
const DAMAGED = 0.01;

/** Connects nodes with the origin, again after each cut, and treats their messages badly. */
export class SimulatedNetwork {
  readonly #origin: SimulatedOrigin;
  readonly #timeline: Timeline;
  readonly #random: Random;
  readonly #links = new Map<SimulatedNode, Link>();
  isFaulty = true;
  faults = 0;

  constructor(
    origin: SimulatedOrigin,
    parts: { readonly timeline: Timeline; readonly random: Random },
  ) {
    this.#origin = origin;
    this.#timeline = parts.timeline;
    this.#random = parts.random;
  }

  keepConnected(node: SimulatedNode): void {
    this.#timeline.after(this.#random.below(1_000), () => this.#connect(node));
  }

  cut(node: SimulatedNode): void {
    this.#links.get(node)?.close();
  }

  silence(node: SimulatedNode, durationMs: number): void {
    const link = this.#links.get(node);
    if (link !== undefined && this.isFaulty) link.silentUntilMs = this.#timeline.nowMs + durationMs;
  }

  #connect(node: SimulatedNode): void {
    const link: Link = {
      isOpen: true,
      silentUntilMs: 0,
      close: () => {
        if (!link.isOpen) return;
        link.isOpen = false;
        connection.close();
        node.disconnected();
        this.keepConnected(node);
      },
    };
    this.#links.set(node, link);
    // A cut from within a session's own effects takes place right after them.
    const cut = (): void => this.#timeline.after(0, () => link.close());
    const connection = this.#origin.accept({
      send: (message) => this.#carry(link, message, (copy) => node.receive(copy)),
      cut,
    });
    node.connected({
      send: (message) => this.#carry(link, message, (copy) => connection.receive(copy)),
      cut,
    });
  }

  #carry(link: Link, message: unknown, deliver: (message: unknown) => void): void {
    // 10 ms each way, so that messages keep their order unless they are late.
    this.#plan(link, { delayMs: 10, message, deliver });
    if (!this.isFaulty || !this.#random.chance(REPEATED)) return;
    this.faults += 1;
    this.#plan(link, { delayMs: 10 + this.#random.below(500), message, deliver });
  }

  #plan(
    link: Link,
    delivery: {
      readonly delayMs: number;
      readonly message: unknown;
      readonly deliver: (message: unknown) => void;
    },
  ): void {
    const isLate = this.isFaulty && this.#random.chance(LATE);
    const delayMs = delivery.delayMs + (isLate ? this.#random.below(2_000) : 0);
    const copy: unknown = structuredClone(delivery.message);
    this.#timeline.after(delayMs, () => {
      if (!link.isOpen || link.silentUntilMs > this.#timeline.nowMs) return;
      if (this.isFaulty && this.#random.chance(LOST)) this.faults += 1;
      else delivery.deliver(this.#damaged(copy));
    });
  }

  /** The message, now and then with another bit in its body. */
  #damaged(message: unknown): unknown {
    const { body } = message as { readonly body?: Uint8Array }; // or any other kind, without one
    if (!this.isFaulty || body === undefined || body.length === 0) return message;
    if (!this.#random.chance(DAMAGED)) return message;
    this.faults += 1;
    const index = this.#random.below(body.length);
    body[index] = (body[index] ?? 0) ^ (1 << this.#random.below(8));
    return message;
  }
}
