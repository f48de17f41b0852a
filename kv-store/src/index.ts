/** Names and records of a namespace's history. */
export { NamespaceId, Revision } from "./names.ts";
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
/** Where writes are ordered. */
export type { CommitListener, KvOrigin, LogPage, Snapshot } from "./origin/origin.ts";
/** What travels between origin and nodes. */
export type { Channel } from "./replication/channel.ts";
/** Large values. */
export type { ValueBlobs, ValueFile } from "./values/value-blobs.ts";
