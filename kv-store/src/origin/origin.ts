import type {
  ContentHash,
  Key,
  KvCondition,
  KvEntry,
  KvOperation,
  KvPage,
  KvRecord,
  ListOptions,
} from "../entry.ts";
import type { HistoryPoint, NamespaceId, Revision } from "../names.ts";

/** Records that followed a point of the history, or why there are none to be had. */
export type LogPage =
  | { readonly kind: "records"; readonly records: ReadonlyArray<KvRecord> }
  /** The log no longer reaches back so far. */
  | { readonly kind: "truncated" }
  /** The history never was at this point: the caller has followed another one. */
  | { readonly kind: "diverged" };

/** Some of a namespace's entries, as of one moment, and where the history stood then. */
export interface EntriesPage extends HistoryPoint {
  /** By ascending UTF-8 key order, expired ones included. Empty behind the last key. */
  readonly entries: ReadonlyArray<KvEntry>;
}

export type CommitListener = (namespace: NamespaceId, records: ReadonlyArray<KvRecord>) => void;

/**
 * Where writes are ordered and made durable. One revision sequence per namespace, without gaps.
 * Every call on a namespace that does not exist is rejected with `namespace_not_found`.
 */
export interface KvOrigin {
  /** Creates an empty namespace; a namespace that exists is left as it is. */
  createNamespace(namespace: NamespaceId): Promise<void>;
  /** Removes the namespace, its entries and its log. Removing an unknown one does nothing. */
  deleteNamespace(namespace: NamespaceId): Promise<void>;
  /**
   * Applies all operations or none, in order, each with its own revision, and resolves with the last
   * one when they are on disk: nothing acknowledged is ever lost. Concurrent calls share a commit. After a
   * rejection with `origin_unreachable` or `storage_failed` it may have happened all the same, or turn out to
   * have when the origin is started again; after any other it did not.
   * Rejected with `precondition_failed` when a condition is not true before the first operation: of writes
   * that each want the same revision of a key, at most one is made. What has expired counts as absent.
   */
  write(
    namespace: NamespaceId,
    operations: ReadonlyArray<KvOperation>,
    conditions?: ReadonlyArray<KvCondition>,
  ): Promise<Revision>;
  /**
   * To be called before the content of a large value is stored, or found to be there already: it is not
   * collected for `LIMITS.valueClaimMs` from now on. A write that names content that was never claimed, or has
   * been collected since, is rejected with `value_unavailable`.
   */
  claimValue(hash: ContentHash): Promise<void>;
  /**
   * Looks through some of the large values, a part at each call, and calls `remove` for the content of those
   * that nobody claimed lately and nothing names: no entry, and no record of the log as what it replaced, so
   * that a node at any revision of the log still finds what it holds. While `remove` runs nobody can claim or
   * name that content; if it fails the value is looked at again later. Resolves with how many were collected.
   */
  collectValues(remove: (hash: ContentHash) => Promise<void>): Promise<number>;
  /**
   * The time by which entries expire, in milliseconds since the epoch: the wall clock, but it never goes back,
   * and is at least what is acted on anywhere by `expire`.
   */
  nowMs(): number;
  /** The live entry of a key; an expired one counts as absent. */
  get(namespace: NamespaceId, key: string): Promise<KvEntry | undefined>;
  /** Live entries by ascending UTF-8 key order. */
  list(namespace: NamespaceId, options: ListOptions): Promise<KvPage>;
  /** Where the history stands: at the latest write; at revision 0 and `EMPTY_STATE` before the first. */
  point(namespace: NamespaceId): Promise<HistoryPoint>;
  /** The records after `after`, ascending, at most `limits.logPageRecordsMax`; empty at the end. */
  readLog(namespace: NamespaceId, after: HistoryPoint): Promise<LogPage>;
  /**
   * The entries behind the key `after`, or from the first key for null, up to the bounds of a page. Each
   * page is of its own moment: all pages, and the log from the first one's revision to the last one's put
   * over them, are the state as of the last one's. So nothing stays open, no writer waits, and a reader goes
   * on wherever it stopped. For `LIMITS.logHoldMs` after each page, and after each page of the log read
   * meanwhile, the log is bounded by its bytes alone: its reader should not be overtaken by the log's end.
   * Fails with `storage_failed` at an entry that the disk has changed.
   */
  readEntries(namespace: NamespaceId, after: Key | null): Promise<EntriesPage>;
  /**
   * Calls `listener` after each durable commit, per namespace in revision order. Returns its end. Commits of
   * other processes, where there may be some, are told if somebody asked about the namespace within
   * `LIMITS.originFollowMs`, and as soon as they are heard of.
   */
  onCommit(listener: CommitListener): () => void;
  /** Turns entries that have expired into deletes of the log; resolves with their count. */
  expire(): Promise<number>;
  /** May be called twice. Writes that were not yet acknowledged are rejected with `closed`. */
  close(): Promise<void>;
}
