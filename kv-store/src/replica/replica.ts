import type { HeldEntry, HeldOperation, Key, KvOperation, KvPage, ListOptions } from "../entry.ts";
import type { HistoryPoint, NamespaceId, Revision } from "../names.ts";
import type { HeldExtent } from "./extent-plan.ts";
import type { HeardTime } from "./origin-time.ts";

/** A change of a replica. Each is one transaction: either all of it is on disk, or nothing. */
export type StoreAction =
  /** Operations that lead from exactly `after` to this point; anything else that is held refuses them. */
  | ({ readonly kind: "batch" } & StoredBatch)
  /** Begins to collect a snapshot from this point on, and forgets one that was being collected. */
  | ({ readonly kind: "snapshot-start" } & HistoryPoint)
  /** Entries for it, of the keys from behind exactly `after` up to `through`. Reads don't see them yet. */
  | {
      readonly kind: "snapshot-page";
      readonly after: Key | null;
      readonly through: Key;
      readonly operations: ReadonlyArray<HeldOperation>;
      /** Of each of them, in their order; 0 where the origin did not tell it. */
      readonly revisions: ReadonlyArray<Revision>;
    }
  /** Operations that lead what is collected from exactly `after` to this point. */
  | ({ readonly kind: "snapshot-batch" } & StoredBatch)
  /** Puts what was collected, if it is exactly this much, in the place of all that is held, at once. */
  | ({ readonly kind: "snapshot-end"; readonly through: Key | null } & HistoryPoint)
  | { readonly kind: "drop" };

interface StoredBatch extends Readonly<HistoryPoint> {
  readonly after: Revision;
  readonly operations: ReadonlyArray<KvOperation>;
}

/** How much of a snapshot is collected: the keys up to `after`, null for none, and the log up to a point. */
export interface SnapshotPosition extends Readonly<HistoryPoint> {
  readonly after: Key | null;
}

export interface StoreOptions {
  /** By default somebody waits for the change. */
  readonly isAwaited?: boolean;
}

/** Told what is wrong, in a sentence. */
export type DamageListener = (namespace: NamespaceId, what: string) => void;

/** The copies on a node of the namespaces that it wants, each the state as of one revision. */
export interface Replica {
  /** Every namespace of which something is on disk, a part of a snapshot included. */
  held(): ReadonlyArray<NamespaceId>;
  /** The revision whose state is held; `undefined` when nothing is. */
  revision(namespace: NamespaceId): Revision | undefined;
  /** The same with the state's digest. */
  point(namespace: NamespaceId): HistoryPoint | undefined;
  /** What is held of a namespace takes, and whether its values may be absent. */
  extent(namespace: NamespaceId): HeldExtent;
  /** The snapshot that is being collected, which may go on from there; `undefined` when there is none. */
  snapshot(namespace: NamespaceId): SnapshotPosition | undefined;
  /**
   * Resolves when reads see the change; it survives a crash of the process from then on. Changes of one
   * namespace take effect in the order of the calls, which need not wait for each other. Rejected with
   * `replica_behind` when a change does not fit what is held or collected, with `replica_damaged` when what
   * is on disk with it is not the state that it promises, with `storage_failed` when the disk refuses. A
   * snapshot that proves damaged is forgotten. What `isAwaited` is stored at once; a batch that is not may wait for more of
   * them, a moment while there is much to do.
   */
  store(namespace: NamespaceId, action: StoreAction, options?: StoreOptions): Promise<void>;
  /** A heartbeat has told of the origin's clock, by which entries expire. */
  heard(time: HeardTime): void;
  /**
   * What the origin's clock shows by now, in milliseconds since the epoch; `undefined` before it was heard since the
   * replica was opened.
   */
  originNowMs(): number | undefined;
  /**
   * The live entry of a key, whose value may be absent. Fails with `replica_behind` when the namespace is not held, with
   * `replica_damaged` when the disk has changed the entry, with `storage_failed` when it can't be read.
   */
  get(namespace: NamespaceId, key: string): HeldEntry | undefined;
  /** Live entries by ascending UTF-8 key order. Fails as `get` does, or with `cursor_invalid`. */
  list(namespace: NamespaceId, options: ListOptions): KvPage;
  /**
   * Calls `listener` when a namespace is found not to be what was stored, by a read or by the check that
   * goes on in the background. Returns its end.
   */
  onDamage(listener: DamageListener): () => void;
  /** May be called twice. Changes under way are finished before. */
  close(): Promise<void>;
}
