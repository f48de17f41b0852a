import type { KvEntry, KvOperation, KvPage, ListOptions } from "../entry.ts";
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
  /** Begins to collect a snapshot, and forgets one that was being collected. Reads don't see it yet. */
  | { readonly kind: "snapshot-start" }
  | { readonly kind: "snapshot-page"; readonly operations: ReadonlyArray<KvOperation> }
  /** Puts the collected snapshot in the place of all that is held, at once, if all its pages were stored. */
  | { readonly kind: "snapshot-end"; readonly revision: Revision; readonly pages: number }
  | { readonly kind: "drop" };

/** The copies on a node of the namespaces that it wants, each the state as of one revision. */
export interface Replica {
  /** Every namespace that is held. */
  held(): ReadonlyArray<NamespaceId>;
  /** The revision whose state is held; `undefined` when nothing is. */
  revision(namespace: NamespaceId): Revision | undefined;
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
