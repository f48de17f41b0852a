import { LIMITS } from "../limits.ts";
import type { StoreAction } from "../replica/replica.ts";
import type { DataMessage, ReplicaSubscription } from "./replica-subscription.ts";
import { MESSAGE_BYTES } from "./send-window.ts";

export interface StoreInFlight {
  readonly subscription: ReplicaSubscription;
  /** Number of the message behind it; 0 when it came over an earlier connection, or from none. */
  sequence: number;
  readonly bytes: number;
  readonly kind: StoreAction["kind"];
  /** The subscription's, when this began. */
  readonly era: number;
  /** It is of a snapshot that was begun before the subscription asked the last time. */
  readonly isResumed: boolean;
}

// A sound origin never has more than its window and one message under way.
const BYTES_MAX = 4 * LIMITS.windowBytesMax;

/**
 * The changes on their way to a node's disk, and the messages that brought them. Bounds their bytes, and knows
 * up to which message nothing is under way any more, and when the origin should be told.
 */
export class StoresInFlight {
  readonly #stores = new Map<number, StoreInFlight>();
  #bytes = 0;
  #lastToken = 0;
  /** The highest number of a message of this connection. */
  #sequence = 0;
  /** What the messages weigh in the origin's window of whose end it was not told. */
  #untoldBytes = 0;

  /** More is under way than a sound origin would ever send. */
  get isOverfull(): boolean {
    return this.#bytes > BYTES_MAX;
  }

  /** A message came. Returns whether one before it is missing. */
  arrived(message: DataMessage): boolean {
    const isGap = message.sequence > this.#sequence + 1;
    this.#sequence = Math.max(this.#sequence, message.sequence);
    this.#untoldBytes += MESSAGE_BYTES + bodyBytesOf(message);
    return isGap;
  }

  /** Returns a number for it that was never used before. */
  begin(
    subscription: ReplicaSubscription,
    kind: StoreAction["kind"],
    message: DataMessage | undefined,
  ): number {
    this.#lastToken += 1;
    const bytes = message === undefined ? 0 : bodyBytesOf(message);
    const sequence = message?.sequence ?? 0;
    const { era } = subscription;
    const isResumed = kind.startsWith("snapshot") && subscription.isResumed;
    this.#stores.set(this.#lastToken, { subscription, sequence, bytes, kind, era, isResumed });
    this.#bytes += bytes;
    return this.#lastToken;
  }

  /** `undefined` for one that is not under way. */
  end(token: number): Readonly<StoreInFlight> | undefined {
    const store = this.#stores.get(token);
    this.#stores.delete(token);
    this.#bytes -= store?.bytes ?? 0;
    return store;
  }

  /** Whether a snapshot is on its way from its start on: whatever came before it is given up for it. */
  isBegunAnew(subscription: ReplicaSubscription): boolean {
    return this.#stores
      .values()
      .some((store) => store.subscription === subscription && store.kind === "snapshot-start");
  }

  /** So much was done since the origin was last told that its window might close. */
  get isNews(): boolean {
    return this.#untoldBytes - this.#weight >= LIMITS.windowNewsBytes;
  }

  /** The last message up to which nothing is under way, for the origin; 0 when there is none. */
  tell(): number {
    const first = this.#stores.values().find((store) => store.sequence > 0);
    this.#untoldBytes = this.#weight;
    return first === undefined ? this.#sequence : first.sequence - 1;
  }

  /** The numbers of messages begin anew with each connection. */
  connectionChanged(): void {
    this.#sequence = 0;
    this.#untoldBytes = this.#weight;
    for (const store of this.#stores.values()) store.sequence = 0;
  }

  get #weight(): number {
    return this.#bytes + MESSAGE_BYTES * this.#stores.size;
  }
}

function bodyBytesOf(message: DataMessage): number {
  return "body" in message ? message.body.length : 0;
}
