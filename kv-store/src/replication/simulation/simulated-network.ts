import { Key } from "../../entry.ts";
import { LIMITS } from "../../limits.ts";
import { MessageFromOrigin, MessageToOrigin } from "../messages.ts";
import type { Random } from "./random.ts";
import type { Rhythm } from "./seed-kind.ts";
import type { SimulatedNode } from "./simulated-node.ts";
import type { SimulatedOrigin } from "./simulated-origin.ts";
import type { Timeline } from "./timeline.ts";

type Direction = "to-node" | "to-origin";

interface Link {
  readonly node: SimulatedNode;
  isOpen: boolean;
  /** Until then nothing arrives in that direction, and nobody is told. */
  readonly silentUntilMs: Record<Direction, number>;
  readonly silentSinceMs: Record<Direction, number>;
  /** Until it is so nothing arrives at the node, either. */
  hearsAgain: (() => boolean) | undefined;
  /** Until then every body that arrives is damaged: bad hardware, not bad luck. */
  damagedUntilMs: number;
  close(): void;
}

interface Delivery<Message> {
  readonly direction: Direction;
  readonly schema: { safeParse(message: object): { readonly data?: Message | undefined } };
  readonly deliver: (message: Message) => void;
}

// Far worse than any real network, so that a simulated minute meets every combination.
const LOST = 0.04;
const REPEATED = 0.03;
const LATE = 0.03;
const DAMAGED = 0.02;
/** Parsing is a tenth of what a message costs. */
const PARSED_EACH = 8;
/** What a damaged message may have changed beside its body: what its checksum covers, too. */
const NUMBERS = ["after", "revision", "count"] as const;
const DAMAGED_KEY = Key.parse("k07");

/** Connects nodes with the origin, again after each cut, and treats their messages badly. */
export class SimulatedNetwork {
  readonly #origin: SimulatedOrigin;
  readonly #timeline: Timeline;
  readonly #random: Random;
  readonly #links = new Map<SimulatedNode, Link>();
  readonly #isolatedUntilMs = new Map<SimulatedNode, number>();
  /** Nothing arrives over the next link of a node before it is so. */
  readonly #deafUntil = new Map<SimulatedNode, () => boolean>();
  /** How much of the worst there is of each fault. */
  readonly #share: number;
  isFaulty = true;
  faults = 0;
  #delivered = 0;
  /** Told of each message that arrives. */
  trace: ((text: string) => void) | undefined;

  constructor(
    origin: SimulatedOrigin,
    parts: { readonly timeline: Timeline; readonly random: Random; readonly rhythm: Rhythm },
  ) {
    this.#origin = origin;
    this.#timeline = parts.timeline;
    this.#random = parts.random;
    this.#share = parts.rhythm.messageFaults;
  }

  /** It is the node that connects, once it knows that it has no link: so not while its machine stands still. */
  keepConnected(node: SimulatedNode): void {
    const isolatedMs = Math.max(0, (this.#isolatedUntilMs.get(node) ?? 0) - this.#timeline.nowMs);
    const isConnecting = !node.isFrozen;
    this.#timeline.after(isolatedMs + this.#random.below(1_000), () => {
      const isIsolated = (this.#isolatedUntilMs.get(node) ?? 0) > this.#timeline.nowMs;
      if (isIsolated || !isConnecting) this.keepConnected(node);
      else this.#connect(node);
    });
  }

  /** Cuts it, and does not connect it again for so long. */
  isolate(node: SimulatedNode, durationMs: number): void {
    this.#isolatedUntilMs.set(node, this.#timeline.nowMs + durationMs);
    this.cut(node);
  }

  cut(node: SimulatedNode): void {
    this.#links.get(node)?.close();
  }

  /** Since when nothing has arrived in one direction at least; Infinity when both work. */
  silentSinceMs(node: SimulatedNode): number {
    const link = this.#links.get(node);
    if (link === undefined || !link.isOpen) return Infinity;
    const sinceMs = (direction: Direction): number =>
      link.silentUntilMs[direction] > this.#timeline.nowMs
        ? link.silentSinceMs[direction]
        : Infinity;
    return Math.min(sinceMs("to-node"), sinceMs("to-origin"));
  }

  /** Nothing arrives for a while, in one direction or both. */
  silence(node: SimulatedNode, durationMs: number): void {
    const link = this.#links.get(node);
    if (link === undefined || !link.isOpen) return;
    const directions = this.#random.pick<Direction[]>([
      ["to-node"],
      ["to-origin"],
      ["to-node", "to-origin"],
    ]);
    this.#silence(link, directions, durationMs);
  }

  /** Cuts it. What the origin says over the next link is lost until `hearsAgain` says so. */
  deafen(node: SimulatedNode, hearsAgain: () => boolean): void {
    this.#deafUntil.set(node, hearsAgain);
    this.cut(node);
  }

  #silence(link: Link, directions: ReadonlyArray<Direction>, durationMs: number): void {
    const { nowMs } = this.#timeline;
    for (const direction of directions) {
      if (link.silentUntilMs[direction] <= nowMs) link.silentSinceMs[direction] = nowMs;
      link.silentUntilMs[direction] = Math.max(link.silentUntilMs[direction], nowMs + durationMs);
    }
    this.#expectCut(link, directions);
  }

  damage(node: SimulatedNode, durationMs: number): void {
    const link = this.#links.get(node);
    if (link !== undefined) link.damagedUntilMs = this.#timeline.nowMs + durationMs;
  }

  endFaults(): void {
    this.isFaulty = false;
    for (const link of this.#links.values()) {
      link.damagedUntilMs = 0;
      link.silentUntilMs["to-node"] = 0;
      link.silentUntilMs["to-origin"] = 0;
    }
    this.#deafUntil.clear();
  }

  /** Promise: whoever hears nothing for long ends the connection. */
  #expectCut(link: Link, directions: ReadonlyArray<Direction>): void {
    const sinceMs = this.#timeline.nowMs;
    // Two looks: one falls just before the time is over.
    this.#timeline.after(LIMITS.linkSilenceMs + 2 * LIMITS.tickMs, () => {
      for (const direction of directions) {
        const isSilent =
          link.silentUntilMs[direction] > this.#timeline.nowMs &&
          link.silentSinceMs[direction] <= sinceMs;
        const isAwake = direction === "to-origin" || link.node.runningSinceMs <= sinceMs;
        if (link.isOpen && isSilent && isAwake && this.isFaulty) {
          throw new Error(`node ${link.node.number}: silent ${direction}, and nobody cut the link`);
        }
      }
    });
  }

  #connect(node: SimulatedNode): void {
    const link: Link = {
      node,
      isOpen: true,
      silentUntilMs: { "to-node": 0, "to-origin": 0 },
      silentSinceMs: { "to-node": 0, "to-origin": 0 },
      hearsAgain: this.#deafUntil.get(node),
      damagedUntilMs: 0,
      close: () => {
        if (!link.isOpen) return;
        link.isOpen = false;
        connection.close();
        node.disconnected();
        this.keepConnected(node);
      },
    };
    this.#links.set(node, link);
    if (this.#deafUntil.delete(node)) this.#silence(link, ["to-node"], Infinity);
    // A cut from within a session's own effects takes place right after them.
    const cut = (): void => this.#timeline.after(0, () => link.close());
    const toNode: Delivery<MessageFromOrigin> = {
      ...{ direction: "to-node", schema: MessageFromOrigin },
      deliver: (message) => node.receive(message),
    };
    const connection = this.#origin.accept({
      send: (message) => this.#carry(link, toNode, message),
      cut,
    });
    const toOrigin: Delivery<MessageToOrigin> = {
      ...{ direction: "to-origin", schema: MessageToOrigin },
      deliver: (message) => connection.receive(message),
    };
    node.connected({ send: (message) => this.#carry(link, toOrigin, message), cut });
  }

  #carry<Message extends object>(link: Link, way: Delivery<Message>, message: Message): void {
    // 10 ms each way, so that messages keep their order unless they are late.
    this.#plan(link, way, { message, delayMs: 10 });
    if (!this.#happens(REPEATED)) return;
    this.faults += 1;
    this.#plan(link, way, { message, delayMs: 10 + this.#random.below(500) });
  }

  #plan<Message extends object>(
    link: Link,
    way: Delivery<Message>,
    { message, delayMs }: { readonly message: Message; readonly delayMs: number },
  ): void {
    const isLate = this.#happens(LATE);
    this.#timeline.after(delayMs + (isLate ? this.#random.below(2_000) : 0), () => {
      if (link.hearsAgain?.() === true) hear(link);
      if (!link.isOpen || link.silentUntilMs[way.direction] > this.#timeline.nowMs) return;
      if (this.#happens(LOST)) {
        this.faults += 1;
        return;
      }
      this.trace?.(describe(link.node, way.direction, message));
      this.#deliver(link, way, message);
    });
  }

  /** Parsed as the real ends do, if it is damaged. Of what is as a typed sender made it that is tried now and then. */
  #deliver<Message extends object>(link: Link, way: Delivery<Message>, message: Message): void {
    const isDamaged = link.damagedUntilMs > this.#timeline.nowMs || this.#happens(DAMAGED);
    this.#delivered += 1;
    if (!isDamaged && this.#delivered % PARSED_EACH !== 0) return way.deliver(message);
    const { data } = way.schema.safeParse(isDamaged ? this.#damaged(message) : message);
    if (data !== undefined) return way.deliver(data);
    if (!isDamaged) throw new Error(`${way.direction} went what is no message`);
    this.#timeline.after(0, () => link.close());
  }

  #happens(chance: number): boolean {
    return this.isFaulty && this.#random.chance(chance * this.#share);
  }

  /** The message with another bit in its body, or in a number that belongs to it. */
  #damaged(message: object): object {
    if (!("body" in message) || !(message.body instanceof Uint8Array)) return message;
    this.faults += 1;
    const copy: Record<string, unknown> = { ...message };
    const number = this.#random.pick(NUMBERS);
    if (this.#random.chance(0.5)) {
      if (typeof copy[number] === "number") copy[number] ^= 1 << this.#random.below(4);
      if ("through" in copy) copy["through"] = DAMAGED_KEY;
    } else if (message.body.length > 0) {
      const body = Uint8Array.from(message.body);
      const index = this.#random.below(body.length);
      body[index] = (body[index] ?? 0) ^ (1 << this.#random.below(8));
      copy.body = body;
    }
    return copy;
  }
}

function hear(link: Link): void {
  link.hearsAgain = undefined;
  link.silentUntilMs["to-node"] = 0;
}

function describe(node: SimulatedNode, direction: Direction, message: object): string {
  const shown = JSON.stringify(message, (key, value: unknown) => (key === "body" ? "…" : value));
  return `node ${node.number} ${direction === "to-node" ? "<" : ">"} ${shown}`;
}
