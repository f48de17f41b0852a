import type { Key } from "../entry.ts";
import type { KvErrorCode } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { NamespaceId, Revision } from "../names.ts";
import type { OwnWrites } from "./own-writes.ts";

/** How a write ended for the one who made it. */
export type WriteResult =
  | { readonly kind: "visible"; readonly revision: Revision }
  /** The origin has it on disk, but reads of this node don't see it yet: those of its keys wait for it. */
  | { readonly kind: "durable"; readonly revision: Revision }
  | {
      readonly kind: "failed";
      readonly code: KvErrorCode;
      readonly message: string;
      /** As `KvError` has it. */
      readonly found?: Revision | undefined;
    };

export interface SettledWrite {
  readonly id: number;
  readonly result: WriteResult;
}

interface PendingWrite {
  readonly id: number;
  readonly namespace: NamespaceId;
  readonly keys: ReadonlyArray<Key>;
  readonly bytes: number;
  readonly sentMs: number;
  /** Which history was followed when the write was sent, and how far it was known to go: the write comes later. */
  readonly history: number;
  readonly after: number;
  /** Known once the origin has it on disk; then only the replica is waited for. */
  revision: Revision | undefined;
}

/** Writes between being sent and being visible in the replica. Bounded in number and bytes. */
export class PendingWrites {
  readonly #writes = new Map<number, PendingWrite>();
  readonly #own: OwnWrites;
  #bytes = 0;

  /** Gets what ends as durable. */
  constructor(own: OwnWrites) {
    this.#own = own;
  }

  /** Why another write can't be sent; `undefined` when it can. */
  refusal(isConnected: boolean): (WriteResult & { kind: "failed" }) | undefined {
    if (!isConnected) {
      const message = "this node has no connection to the origin: nothing was written, try again";
      return { kind: "failed", code: "origin_unreachable", message };
    }
    const message = this.#fullReason;
    return message === undefined ? undefined : { kind: "failed", code: "busy", message };
  }

  /** Why there is no room for another write; `undefined` when there is. */
  get #fullReason(): string | undefined {
    if (this.#writes.size >= LIMITS.pendingWritesMax) {
      return `${this.#writes.size} writes wait for the origin already`;
    }
    if (this.#bytes < LIMITS.pendingWriteBytesMax) return undefined;
    return `${this.#bytes} bytes of writes wait for the origin already`;
  }

  add(write: Omit<PendingWrite, "revision">): void {
    this.#writes.set(write.id, { ...write, revision: undefined });
    this.#bytes += write.bytes;
  }

  /** The origin has the write on disk. Returns it; `undefined` when nobody waits any more. */
  written(id: number, revision: Revision): Readonly<PendingWrite> | undefined {
    const write = this.#writes.get(id);
    if (write !== undefined) write.revision = revision;
    return write;
  }

  refused(id: number, failure: WriteResult & { kind: "failed" }): SettledWrite[] {
    return this.#settle([id], () => failure);
  }

  /** The replica of the namespace has come to this revision. */
  reached(namespace: NamespaceId, applied: number): SettledWrite[] {
    const reached = [...this.#writes.values()].filter(
      (write) =>
        write.namespace === namespace && write.revision !== undefined && write.revision <= applied,
    );
    return this.#settle(
      reached.map(({ id }) => id),
      ({ revision }) => ({ kind: "visible", revision: revision as Revision }), // filtered above
    );
  }

  /**
   * The link is down: what the origin did not answer has an unknown end, and what it answered is no longer
   * waited for. The origin may be another one when it comes back, restored from an older copy, and its
   * revisions other writes. What is on its way to the disk, up to `accepted`, is still to come.
   */
  linkLost(nowMs: number, accepted: (namespace: NamespaceId) => number): SettledWrite[] {
    const lost = [...this.#writes.values()].filter(
      ({ namespace, revision }) => revision === undefined || revision > accepted(namespace),
    );
    return this.#settle(
      lost.map(({ id }) => id),
      (write) => this.#endOf(write, nowMs),
    );
  }

  /** Gives up on writes that have waited for too long, given when the link last worked both ways. */
  expire(nowMs: number, echoMs: number): SettledWrite[] {
    const late = [...this.#writes.values()].filter(
      ({ sentMs }) =>
        nowMs - Math.max(sentMs, echoMs) > LIMITS.originSilenceMs ||
        nowMs - sentMs > LIMITS.writeAnswerMs,
    );
    return this.#settle(
      late.map(({ id }) => id),
      (write) => this.#endOf(write, nowMs),
    );
  }

  /** What is said of a write that nobody waits for any more. */
  #endOf({ namespace, keys, revision }: PendingWrite, nowMs: number): WriteResult {
    if (revision === undefined) {
      const message =
        "the origin did not answer in time: the write may or may not have happened, repeat it";
      return { kind: "failed", code: "origin_unreachable", message };
    }
    if (this.#own.add(namespace, { keys, revision }, nowMs)) return { kind: "durable", revision };
    const message = `the write is durable as revision ${revision}, but this node has not applied it yet`;
    return { kind: "failed", code: "replica_behind", message };
  }

  #settle(
    ids: ReadonlyArray<number>,
    resultOf: (write: PendingWrite) => WriteResult,
  ): SettledWrite[] {
    const settled: SettledWrite[] = [];
    for (const id of ids) {
      const write = this.#writes.get(id);
      if (write === undefined) continue;
      this.#writes.delete(id);
      this.#bytes -= write.bytes;
      settled.push({ id, result: resultOf(write) });
    }
    return settled;
  }
}
