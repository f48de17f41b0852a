import { LIMITS } from "../limits.ts";
import type { StoreAction } from "../replica/replica.ts";
import type { DataMessage, ReplicaSubscription } from "./replica-subscription.ts";

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

/** The changes on their way to a node's disk. Bounds their bytes, and knows up to where none is left. */
export class StoresInFlight {
  readonly #stores = new Map<number, StoreInFlight>();
  #bytes = 0;
  #lastToken = 0;

  /** More is under way than a sound origin would ever send. */
  get isOverfull(): boolean {
    return this.#bytes > BYTES_MAX;
  }

  /** Returns a number for it that was never used before. */
  begin(
    subscription: ReplicaSubscription,
    kind: StoreAction["kind"],
    message: DataMessage | undefined,
  ): number {
    this.#lastToken += 1;
    const bytes = message !== undefined && "body" in message ? message.body.length : 0;
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

  /** The last message up to which nothing is under way, of those up to `sequence`. */
  doneUpTo(sequence: number): number {
    const first = this.#stores.values().find((store) => store.sequence > 0);
    return first === undefined ? sequence : first.sequence - 1;
  }

  /** The numbers of messages begin anew with each connection. */
  connectionChanged(): void {
    for (const store of this.#stores.values()) store.sequence = 0;
  }
}
