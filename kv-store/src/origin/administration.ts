import type { Key, KvEntry, KvOperation, KvRecord } from "../entry.ts";
import type { HistoryPoint, NamespaceId, Revision } from "../names.ts";
import type { KvOrigin } from "./origin.ts";
import type { KvQuota, KvSize } from "./quota.ts";

/** What a namespace has, and how far back its history is known, as of one moment. */
export interface NamespaceExtent extends HistoryPoint, KvSize {
  readonly log: {
    readonly records: number;
    readonly bytes: number;
    /** Where it begins, which may be in the midst of a transaction. */
    readonly start: HistoryPoint;
    /** When that was committed, in milliseconds since the epoch. */
    readonly startMs: number;
  };
}

/** A key that was written to after some revision, and what it held then. */
export interface EarlierEntry {
  readonly key: Key;
  /** Absent when there was no such key. What had expired by then, and was not swept, is there. */
  readonly entry: KvEntry | undefined;
  /** What is there now: exactly that, another entry, or none. */
  readonly now: "same" | "other" | "absent";
}

/** A record of the log with the digest of the entry that its operation replaced, if there was one. */
export interface LinkedRecord extends KvRecord {
  readonly replaced: Uint8Array | undefined;
}

/** What an account has, and how many writes it made today (UTC) while it had a quota. */
export interface AccountUse extends KvSize {
  readonly writesToday: number;
}

/**
 * What operators want of an origin beyond reads and writes. Every call on a namespace that does not exist is
 * rejected with `namespace_not_found`.
 */
export interface KvAdministration {
  describe(namespace: NamespaceId): Promise<NamespaceExtent>;
  /**
   * The revision whose state the namespace had at a moment, by the clock of the origin, in milliseconds since
   * the epoch. Fails with `moment_unknown` when the log does not reach back so far, or the moment is to come.
   */
  revisionAt(namespace: NamespaceId, atMs: number): Promise<Revision>;
  /**
   * Of the keys behind `after`, or from the first one for null, those that were written to after revision
   * `at`, which must be one that a transaction ended with: `revisionAt` gives such, and `describe` but for the
   * log's start. Ascending, up to the bounds of a page; empty at the end. Fails with `moment_unknown` when the log
   * does not reach back so far.
   */
  readEarlier(
    namespace: NamespaceId,
    at: Revision,
    after: Key | null,
  ): Promise<ReadonlyArray<EarlierEntry>>;
  /**
   * The records after `after`, up to the bounds of a page; empty at the end. Reaches as far as the log. Fails
   * with `storage_failed` where the disk has changed what a record replaced.
   */
  readLinks(namespace: NamespaceId, after: Revision): Promise<ReadonlyArray<LinkedRecord>>;
  /** As `write`, for operators: no rate holds it up and none counts it. Keys and bytes are bounded as ever. */
  rewrite(namespace: NamespaceId, operations: ReadonlyArray<KvOperation>): Promise<Revision>;
  /** Notes whose the namespaces are; those that don't exist are left out. */
  assign(account: string, namespaces: ReadonlyArray<NamespaceId>): Promise<void>;
  /** From the next write on; what was counted of today's writes stays. */
  setQuota(account: string, quota: KvQuota): Promise<void>;
  accountUse(account: string): Promise<AccountUse>;
  /** What is wrong with the tables and indices themselves, as far as the database can say; empty when nothing is. */
  checkStorage(): Promise<ReadonlyArray<string>>;
}

/** An origin that can be looked after. */
export interface ManagedOrigin extends KvOrigin {
  readonly administration: KvAdministration;
}

/** How an earlier entry stands to what is there now, by the digests of both. */
export function standingOf(
  earlier: Uint8Array | null,
  now: Uint8Array | null,
): EarlierEntry["now"] {
  const isSame =
    earlier === null ? now === null : now !== null && Buffer.compare(earlier, now) === 0;
  if (isSame) return "same";
  return now === null ? "absent" : "other";
}
