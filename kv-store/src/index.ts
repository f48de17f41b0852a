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
/** Where writes are ordered. */
export type { CommitListener, KvOrigin, LogPage, Snapshot } from "./origin/origin.ts";
