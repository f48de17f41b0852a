import type { Key, KvEntry, KvOperation, KvPage, ListOptions } from "../entry.ts";
import type { NamespaceId, Revision } from "../names.ts";

/** A change of a replica. Each is one transaction: either all of it is on disk, or nothing. */
export type StoreAction =
  /** Operations that lead from exactly `after` to `revision`; anything else that is held refuses them. */
  | {
      readonly kind: "batch";
      readonly after: Revision;
      readonly revision: Revision;
      readonly operations: ReadonlyArray<KvOperation>;
    }
  /** Begins to collect a snapshot from this revision on, and forgets one that was being collected. */
  | { readonly kind: "snapshot-start"; readonly revision: Revision }
  /** Entries for it, of the keys from behind exactly `after` up to `through`. Reads don't see them yet. */
  | {
      readonly kind: "snapshot-page";
      readonly after: Key | null;
      readonly through: Key;
      readonly operations: ReadonlyArray<KvOperation>;
    }
  /** Operations that lead what is collected from exactly `after` to `revision`. */
  | {
      readonly kind: "snapshot-batch";
      readonly after: Revision;
      readonly revision: Revision;
      readonly operations: ReadonlyArray<KvOperation>;
    }
  /** Puts what was collected, if it is exactly this much, in the place of all that is held, at once. */
  | {
      readonly kind: "snapshot-end";
      readonly revision: Revision;
      readonly through: Key | null;
    }
  | { readonly kind: "drop" };

/** How much of a snapshot is collected: the keys up to `after`, null for none, and the log up to `revision`. */
export interface SnapshotPosition {
  readonly revision: Revision;
  readonly after: Key | null;
}

/** The copies on a node of the namespaces that it wants, each the state as of one revision. */
export interface Replica {
  /** Every namespace of which something is on disk, a part of a snapshot included. */
  held(): ReadonlyArray<NamespaceId>;
  /** The revision whose state is held; `undefined` when nothing is. */
  revision(namespace: NamespaceId): Revision | undefined;
  /** The snapshot that is being collected, which may go on from there; `undefined` when there is none. */
  snapshot(namespace: NamespaceId): SnapshotPosition | undefined;
  /**
   * Resolves when reads see the change; it survives a crash of the process from then on. Changes of one
   * namespace take effect in the order of the calls, which need not wait for each other. Rejected with
   * `replica_behind` when a change does not fit what is held or collected, with `storage_failed` when the disk refuses.
   */
  store(namespace: NamespaceId, action: StoreAction): Promise<void>;
  /** The live entry of a key. Fails with `replica_behind` when the namespace is not held. */
  get(namespace: NamespaceId, key: string): KvEntry | undefined;
  /** Live entries by ascending UTF-8 key order. Fails with `replica_behind` or `cursor_invalid`. */
  list(namespace: NamespaceId, options: ListOptions): KvPage;
  /** May be called twice. Changes under way are finished before. */
  close(): Promise<void>;
}
