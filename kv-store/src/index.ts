/** Names and records of a namespace's history. */
export { NamespaceId, Revision, StateDigest } from "./names.ts";
export {
  ContentHash,
  Key,
  KvOperation,
  KvRecord,
  KvValue,
  type KvEntry,
  type KvListing,
  type KvPage,
  type ListOptions,
} from "./entry.ts";
export { LIMITS } from "./limits.ts";
/** How calls fail. */
export { isKvErrorCode, KV_ERRORS, KvError, type KvErrorCode } from "./errors.ts";
/** What the parts are given. */
export { systemClock, type Clock } from "./clock.ts";
export type { Log } from "./log.ts";
export { allOver, severalAtOnce } from "./several-at-once.ts";
export { Slots } from "./slots.ts";
export { writeSynced } from "./write-synced.ts";
/** Where writes are ordered. */
export type { CommitListener, EntriesPage, KvOrigin, LogPage } from "./origin/origin.ts";
export { SqliteOrigin, type SqliteOriginOptions } from "./origin/sqlite-origin.ts";
export type { KvAdministration, ManagedOrigin, NamespaceExtent } from "./origin/administration.ts";
export { DEFAULT_HORIZON, type LogHorizon } from "./origin/log-horizon.ts";
export { KvQuota } from "./origin/quota.ts";
/** The copy on a node. */
export type { Replica, StoreAction } from "./replica/replica.ts";
export { LmdbReplica, type LmdbReplicaOptions } from "./replica/lmdb-replica.ts";
export { ReplicaBudget, type ReplicaBudgetOptions } from "./replica/replica-budget.ts";
/** What travels between origin and nodes. */
export type { Channel } from "./replication/channel.ts";
export { OriginServer, type OriginServerOptions } from "./replication/origin-server.ts";
export {
  ReplicaClient,
  type ReplicaClientOptions,
  type ReplicaStatus,
} from "./replication/replica-client.ts";
/** Values that are not in the replica. */
export type { ValueBlobs, ValueFile, ValuePlace } from "./values/value-blobs.ts";
export { ValueCache, type ValueCacheOptions } from "./values/value-cache.ts";
/** The server behind workerd's KV binding. */
export {
  CAPABILITY_HEADER,
  KvFront,
  type KvFrontOptions,
  type KvClient,
  type KvUse,
} from "./front/kv-front.ts";
export { dailyRefusal, type DailyUse } from "./front/daily-refusal.ts";
/** Metadata as a header carries it. */
export { asciiJson } from "./front/ascii-json.ts";
/** Reads of several keys, which the API offers as the binding does. */
export { bulkResult, checkBulkSize, parseBulkGet, type BulkGet } from "./front/bulk-get.ts";
/** The rules of Workers KV for what callers send, in its words. */
export {
  checkCacheTtl,
  checkValueSize,
  parseExpiration,
  parseKey,
  parseListLimit,
  parseMetadata,
  parsePrefix,
  type ExpirationRequest,
} from "./validation.ts";
