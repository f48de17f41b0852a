/** Every bound of the key-value store, with its reason. Sizes are bytes unless the name says otherwise. */
export const LIMITS = {
  /** Workers KV's own limit; workerd's binding refuses longer keys too. */
  keyBytesMax: 512,
  /** Workers KV's own limit. */
  valueBytesMax: 25 * 1024 * 1024,
  /** Larger values travel by hash: one of them must not delay a batch of small ones. */
  inlineValueBytesMax: 64 * 1024,
  /** Workers KV's own limit, of the metadata's JSON text. */
  metadataBytesMax: 1_024,
  /** Workers KV's own limit: nothing expires sooner than this after it was written. */
  expirationTtlSecondsMin: 60,
  /** A date in the year 9999 in seconds: what lies beyond is a mistake of units. */
  expirationSecondsMax: 253_402_300_799,
  /** Workers KV's own limit. The replica is fresher than any cache, so the value is checked and unused. */
  cacheTtlSecondsMin: 30,
  /** Workers KV's own limit of one page of a listing. */
  listKeysMax: 1_000,
  /** Rows that one page looks at: a run of expired entries ends it early, with a cursor. */
  listScanRowsMax: 10_000,
  /** A cursor is a key of 512 bytes in base64 with its prefix; anything longer is none of ours. */
  cursorCharactersMax: 700,
  /** Workers KV's own limit of one bulk read through the binding. */
  bulkGetKeysMax: 100,
  /** Workers KV's own limit of all the values of one bulk read. */
  bulkGetBytesMax: 25 * 1024 * 1024,
  /** 100 keys of 512 bytes, each byte escaped as six, and room for the other fields. */
  bulkGetBodyBytesMax: 512 * 1024,
  /** wrangler sends bulk writes in pieces of 1,000; the documented limit is 10,000. */
  bulkWriteKeysMax: 10_000,

  /** Records of one read of the log: a batch is applied in one transaction, which should stay short. */
  logPageRecordsMax: 1_000,
  /** A page of the log ends after the record that crosses this: a thousand large ones are too much to hold. */
  logPageBytesMax: 256 * 1024,
  /**
   * A node that is this many records behind, and by more than the namespace has keys, gets a snapshot: that is
   * then cheaper than what led to it.
   */
  logCatchUpRecordsMax: 10_000,
  /** What was committed longer ago leaves the log: so far back a namespace can be restored. A week has one weekend. */
  logAgeMs: 7 * 24 * 60 * 60_000,
  /** Records are looked at for their age this often: a minute more or less of a week is nobody's concern. */
  logAgeCheckMs: 60_000,
  /** Bytes of a namespace's log, of operations and of what they replaced; past it the oldest go, whatever their age. */
  logBytesMax: 64 * 1024 * 1024,
  /** Records that one commit cuts, or twice what it added, so that the log shrinks: each cut should be short. */
  logTrimRecordsMax: 1_000,
  /**
   * While a namespace is being copied, and for this long after each piece, a reader of its log may be as far
   * behind as the log reaches: a node that stalls is cut after `windowStallMs`, and is back within a minute.
   */
  logHoldMs: 120_000,
  /**
   * So many times its bytes a log may have while a namespace is restored, and for `logHoldMs` after each part of that:
   * what is restored from it comes into it again, with what it replaces, which is in it, too. The rest is for others.
   */
  logRestoreFactor: 4,
  /** A clock that was set back must not hold up an account whose writes are counted by it for longer than this. */
  rateClockSkewSecondsMax: 60,
  /** Namespaces whose account is noted in one statement. */
  assignedAtOnceMax: 1_000,
  /** A line of a dump: a value of 25 MiB that is text, half of it escaped, and a key and metadata that all are. */
  dumpLineBytesMax: 64 * 1024 * 1024,
  /** Entries deleted in one transaction of a sweep or of a removal: it must not stall the writers. */
  sweepRowsMax: 1_000,
  /** From the claim of a large value to the write that names it: an upload takes 30 s, a write 10 s. */
  valueClaimMs: 60 * 60_000,
  /** A removal of content that began so long ago is over, however it ended: all attempts of a bucket's call take less. */
  valueRemovalMs: 60_000,
  /** Who claims content that is being removed looks this often whether that is over, for `originLockMs` in all. */
  valueClaimLookMs: 20,
  /** Large values that one call looks through: two look-ups each, some milliseconds in all. */
  collectValuesMax: 1_000,
  /** Of those, files that are removed at once. */
  collectRemovalsMax: 16,
  /** Bytes waiting for one group commit; past it a write is refused as `busy`. */
  commitBytesMax: 64 * 1024 * 1024,

  /**
   * Operations of one transaction in PostgreSQL, unless a single write has more: it locks its namespaces, and
   * what is behind it waits.
   */
  commitOperationsMax: 1_000,
  /** Bytes of such a transaction, for the same reason. */
  commitGroupBytesMax: 8 * 1024 * 1024,
  /** Rows of one statement, each with a kilobyte of its own: several may be on their way. */
  statementBytesMax: 2 * 1024 * 1024,
  /** Transactions at once: enough to keep the database's disk busy while each waits for its own commit. */
  originWritersMax: 8,
  /** Of those, transactions that may wait for a namespace that another control plane holds. */
  originLockWaitersMax: 4,
  /** Reads at once; with the transactions and one more that listens, the connections of a control plane. */
  originReadersMax: 8,
  /** Reads that run or wait for a connection; past it they are refused as `busy`. */
  originReadsMax: 4_096,
  /** A connection to the database: outlasts a busy server, and a write fails within its 2 s. */
  originConnectMs: 2_000,
  /** A lock held for longer is held by a control plane that is stuck. */
  originLockMs: 2_000,
  /** One statement: a page, or a thousand rows; outlasts a stalled disk. */
  originStatementMs: 6_000,
  /** A control plane that is stuck in a transaction is cut by the database, so that others can write. */
  originIdleTransactionMs: 5_000,
  /** A database that does not answer is given up: after its own limits, and before a node gives up the write. */
  originAnswerMs: 8_000,
  /** A start waits this long for another one that changes the layout of the tables, which rewrites large ones. */
  originMigrationMs: 10 * 60_000,
  /** A connection that nobody used for this long is closed. */
  originIdleMs: 60_000,
  /** The revisions of the namespaces that nodes follow are asked for this often, in case a notification was lost. */
  originPollMs: 1_000,
  /** Nodes ask for revisions every `heartbeatMs`: a namespace that nobody asked for in this time is not followed. */
  originFollowMs: 10_000,
  /** Namespaces of which it is known what was told of their commits; of others it is found out again. */
  originPositionsMax: 65_536,
  /** A hold of a log is renewed at most this often, although each page of a copy asks for it. */
  logHoldRenewMs: 15_000,

  /** A snapshot's page ends after the entry that crosses this. */
  snapshotPageBytesMax: 256 * 1024,
  /** Entries that expired are deleted this often; until then reads hide them. */
  sweepMs: 5_000,
  /** Bytes sent to a node and not yet applied there: some pages, and 1 GB for a thousand returning nodes. */
  windowBytesMax: 1024 * 1024,
  /**
   * A node tells the origin of so much that it has applied at once, of less with its next ping: an answer to each
   * of hundreds of small changes a second would cost both more than the changes. A sixteenth never closes the window.
   */
  windowNewsBytes: 64 * 1024,
  /** Namespaces of one node: what hundreds of workers bind. */
  subscriptionsMax: 4_096,
  /** Conditions of one write: a node has one for each, and more are a mistake. */
  writeConditionsMax: 100,
  /** Writes of one node that the origin has not answered; the node refuses more as `busy`. */
  pendingWritesMax: 1_000,
  /** Bytes of those writes, which the node holds in memory. */
  pendingWriteBytesMax: 16 * 1024 * 1024,
  /** Both ends look at their deadlines this often. */
  tickMs: 250,
  /** The origin tells its revisions, and the node its clock, this often: the resolution of the measured lag. */
  heartbeatMs: 500,
  /** The promise of design.md: a write fails this soon when nothing is heard from the origin. */
  originSilenceMs: 2_000,
  /** A write whose link is alive but that gets no answer; outlasts a stalled disk, fails loudly after. */
  writeAnswerMs: 10_000,
  /** A link without any message for this long is cut: far more than a garbage collection or a full disk queue. */
  linkSilenceMs: 10_000,
  /** A node that does not apply what it was sent for this long is cut: it starts over instead of filling memory. */
  windowStallMs: 30_000,
  /** After a failed read of its disk the origin waits this long before it reads for that namespace again. */
  originRetryMs: 500,
  /** Failed reads of the log, one after another, until a node gets a snapshot instead: a damaged record stays so. */
  logReadsMax: 10,
  /** A stream that is damaged this soon after it was asked for is asked for again only after a pause. */
  replicaAskMs: 250,
  /** A replica that is behind while nothing arrives for this long asks again. */
  replicaStallMs: 5_000,
  /** After a failed transaction the replica waits this long before it asks again: a full disk stays full a while. */
  replicaRetryMs: 2_000,
  /** A read of a namespace that has not arrived yet waits this long: a snapshot of a small one is faster. */
  replicaReadyMs: 2_000,

  /** A read that asks for a freshness that the copy does not have waits this long: some heartbeats. */
  freshReadMs: 2_000,
  /** Reads that wait for any of this: a quarter of the requests in progress, so that others are answered meanwhile. */
  waitingReadsMax: 500,
  /** Reads of a key whose write was acknowledged before the stream was cut wait for it this long after the cut. */
  ownWriteMs: 2_000,
  /** Keys of such writes: twice all that may be pending. More writes end as not seen here. */
  ownWritesMax: 2_000,

  /** Requests in progress at a node's KV socket; more are refused as `busy`. */
  frontRequestsMax: 2_000,
  /** Large values being received at once: each is a file of up to 25 MiB. */
  frontSpillsMax: 64,
  /** A refused body is read on up to this size, so that the client sees the answer; workerd sends no more. */
  frontDrainBytesMax: 128 * 1024 * 1024,
  /** Heads hold a key of 512 escaped bytes and the metadata, which is refused with a sentence when too large. */
  frontHeadBytesMax: 64 * 1024,
  /** Of a body, what waits in memory for its reader: a few reads of the socket. */
  frontBodyHeldBytesMax: 256 * 1024,
  /** A request must have arrived within this time: a slow sender is a stuck cell. */
  frontRequestMs: 60_000,
  /** Stuck senders are looked for this often. */
  frontWatchMs: 10_000,
  /** Large values kept on a node's disk. */
  valueCacheBytesMax: 1024 * 1024 * 1024,
  /** Time to fetch or store one large value: 25 MiB over a link of 10 Mbit/s. */
  valueTransferMs: 30_000,
  /** Large values being fetched by a node at once. */
  valueTransfersMax: 16,
  /** Time to fetch a value of up to 64 KiB for a read: as long as a write waits for a silent link. */
  smallValueFetchMs: 2_000,
  /** Such values being fetched by a node at once. */
  smallValueFetchesMax: 64,
  /** A cached value that is still read is hashed again after this long: disks lose bits without a word. */
  valueProofMs: 24 * 60 * 60_000,
  /** Stale read transactions of the replica are looked for this often: each one lets the file grow. */
  readerCheckMs: 60_000,
  /** How far the origin's time has come is kept on the node's disk this often: a restart goes on from there. */
  originTimeSaveMs: 1_000,
  /** What a node holds is read through and compared this often, and after each start. */
  contentCheckMs: 15 * 60_000,
  /** While that goes on, some entries are read this often: a million take seven minutes and little of the node. */
  contentCheckTickMs: 100,
  /** Entries read at once: well under a millisecond, for which reads wait. */
  contentCheckRowsMax: 256,
  /** Bytes read at once, for the same reason. */
  contentCheckBytesMax: 256 * 1024,
  /** A replica that had to be replaced is replaced again only after this long: what broke it may still do so. */
  replicaRepairMs: 30_000,
  /** A namespace that no worker binds any more is kept for this long: a redeploy should not cost a snapshot. */
  interestGraceMs: 5 * 60_000,
  /** Operations of changes that share a transaction on a node: as many as one page of the log brings. */
  replicaSharedOperationsMax: 1_000,
  /**
   * Changes that come to a node soon after a commit gather for so many times what that took, unless somebody waits for
   * one: commits then take a third of the time at most.
   */
  replicaGatherFactor: 2,
  /** But for this long, however fast the disk is: each commit costs a node far more than the changes in it. */
  replicaGatherMsMin: 10,
  /** And no longer than this, however slow it is: a fifth of what a change may take until it is seen everywhere. */
  replicaGatherMsMax: 20,
  /** Entries removed in one transaction when a replica drops a namespace. */
  replicaDropRowsMax: 2_000,
  /** Smaller values are never absent: a reference takes 52 bytes, and each fetch a round trip. */
  absentValueBytesMin: 128,
  /** What a node holds is compared with its budget this often: at 100 MB/s it is 100 MB over before that. */
  replicaBudgetMs: 1_000,
  /** Room on the disk for a new replica: what LMDB maps of it at first, several times over. */
  replicaRoomBytesMin: 256 * 1024,
  /** A namespace becomes whole again only when all would then take this share: else it would come and go. */
  replicaWholeShare: 0.8,
  /** Entries whose values are removed, or looked through for such, in one transaction: some milliseconds. */
  replicaStripRowsMax: 1_000,
  /** Bytes of those entries, for the same reason. */
  replicaStripBytesMax: 1024 * 1024,
  /** Values fetched together while a namespace becomes whole: each is up to 64 KiB in memory. */
  replicaFillRowsMax: 64,
  /** After a value could not be fetched, a namespace that becomes whole is left alone for this long. */
  replicaFillRetryMs: 10_000,
  /** So often a read of a value looks again: a key that is written faster than it is fetched is retried later. */
  valueReadsMax: 4,
} as const;
