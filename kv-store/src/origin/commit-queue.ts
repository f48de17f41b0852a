import type { KvCondition, KvOperation } from "../entry.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { NamespaceId, Revision } from "../names.ts";

/** A write that waits for its commit. */
export interface QueuedWrite {
  readonly namespace: NamespaceId;
  readonly operations: ReadonlyArray<KvOperation>;
  readonly conditions?: ReadonlyArray<KvCondition>;
  /** Given for deletes of what had expired by then: a key that was written anew meanwhile stays. */
  readonly dueSeconds?: number;
  /** Given for what no rate holds up. */
  readonly isUnmetered?: boolean;
  resolve(committed: CommittedWrite): void;
  reject(error: unknown): void;
}

export interface CommittedWrite {
  /** Of the namespace after the write's last operation. */
  readonly revision: Revision;
  /** How many of the operations took effect. */
  readonly count: number;
}

/** Writes by namespace, for one transaction. */
export interface CommitGroup {
  readonly writes: ReadonlyMap<NamespaceId, ReadonlyArray<QueuedWrite>>;
  /** It has one namespace, and waits until another control plane lets go of it. */
  readonly waits: boolean;
}

interface Lane {
  readonly writes: QueuedWrite[];
  /** In a transaction: a namespace is in one at a time. */
  isTaken: boolean;
  /** Another control plane was writing to it when it was its turn. */
  isContended: boolean;
}

/**
 * Writes on their way to a transaction: in order within a namespace, namespaces taking turns. One that
 * another control plane is writing to gets a transaction of its own, so that it holds up no other.
 */
export class CommitQueue {
  /** Namespaces that have writes or are taken, the next one first. */
  readonly #lanes = new Map<NamespaceId, Lane>();
  /** Of all writes that were added and not yet released. */
  #bytes = 0;
  /** Groups that wait for another control plane. */
  #waiters = 0;

  /** Fails with `busy` when too much waits already. */
  add(write: QueuedWrite): void {
    const bytes = bytesOf(write);
    if (this.#bytes > 0 && this.#bytes + bytes > LIMITS.commitBytesMax) {
      throw new KvError("busy", `${this.#bytes} bytes wait to be written already`);
    }
    this.#bytes += bytes;
    const lane = this.#lanes.get(write.namespace);
    if (lane !== undefined) lane.writes.push(write);
    else this.#lanes.set(write.namespace, { writes: [write], isTaken: false, isContended: false });
  }

  /** The writes of the next transaction; `undefined` while there are none. Each group is released once. */
  take(): CommitGroup | undefined {
    return this.#takeContended() ?? this.#takeMany();
  }

  /** The group's transaction has ended. Writes to namespaces that it could not lock come once more. */
  release(group: CommitGroup, contended: ReadonlySet<NamespaceId>): void {
    if (group.waits) this.#waiters -= 1;
    for (const [namespace, writes] of group.writes) {
      const lane = this.#lanes.get(namespace);
      if (lane === undefined) continue;
      lane.isTaken = false;
      lane.isContended = contended.has(namespace);
      if (lane.isContended) lane.writes.unshift(...writes);
      else for (const write of writes) this.#bytes -= bytesOf(write);
      // Behind the others, or gone.
      this.#lanes.delete(namespace);
      if (lane.writes.length > 0) this.#lanes.set(namespace, lane);
    }
  }

  /** Rejects all that are in no transaction. */
  rejectWaiting(error: KvError): void {
    for (const [namespace, lane] of this.#lanes) {
      for (const write of lane.writes.splice(0)) {
        this.#bytes -= bytesOf(write);
        write.reject(error);
      }
      if (!lane.isTaken) this.#lanes.delete(namespace);
    }
  }

  #takeContended(): CommitGroup | undefined {
    if (this.#waiters >= LIMITS.originLockWaitersMax) return undefined;
    for (const [namespace, lane] of this.#lanes) {
      if (lane.isTaken || !lane.isContended) continue;
      this.#waiters += 1;
      return { writes: new Map([[namespace, takeFrom(lane, new Room())]]), waits: true };
    }
    return undefined;
  }

  #takeMany(): CommitGroup | undefined {
    const writes = new Map<NamespaceId, ReadonlyArray<QueuedWrite>>();
    const room = new Room();
    for (const [namespace, lane] of this.#lanes) {
      if (lane.isTaken || lane.isContended) continue;
      const taken = takeFrom(lane, room);
      if (taken.length === 0) break;
      writes.set(namespace, taken);
    }
    return writes.size === 0 ? undefined : { writes, waits: false };
  }
}

function takeFrom(lane: Lane, room: Room): QueuedWrite[] {
  const left = lane.writes.findIndex((write) => !room.admits(write));
  const taken = lane.writes.splice(0, left === -1 ? lane.writes.length : left);
  lane.isTaken = taken.length > 0;
  return taken;
}

/** What still fits into a transaction. The first write always does. */
class Room {
  #operations = 0;
  #bytes = 0;

  admits(write: QueuedWrite): boolean {
    const operations = this.#operations + write.operations.length;
    const bytes = this.#bytes + bytesOf(write);
    const isFull = operations > LIMITS.commitOperationsMax || bytes > LIMITS.commitGroupBytesMax;
    if (isFull && this.#bytes > 0) return false;
    this.#operations = operations;
    this.#bytes = bytes;
    return true;
  }
}

/** What a write takes while it waits. */
export function bytesOf({ operations }: Pick<QueuedWrite, "operations">): number {
  // The fixed part stands for the key, the metadata and what is kept about the write.
  return operations.reduce((sum, operation) => {
    const value = operation.kind === "put" ? operation.value : undefined;
    return sum + 256 + (value?.kind === "inline" ? value.bytes.length : 0);
  }, 256);
}
