/** Names of what the fleet runs and runs on. */
export {
  AccountId,
  BlobHash,
  NodeName,
  Region,
  StateRevision,
  VersionId,
  WorkerName,
} from "./names.ts";
/** Workers, their versions, and what a version brings and binds. */
export {
  codeBytes,
  modulesOf,
  AssetManifest,
  AssetRoutes,
  Assets,
  Binding,
  Code,
  DeployedVersion,
  DesiredWorker,
  Module,
  MODULE_KINDS,
  SecretValues,
  Version,
  type ModuleKind,
} from "./worker.ts";
/** Versions that are looked at without being deployed. */
export { Preview, PREVIEW_SIGNATURE_HEADER, PreviewLabel } from "./preview.ts";
/** What an operator grants an account. */
export {
  ACCOUNT_MEMORY_MIB,
  AccountSettings,
  CELL_POLICIES,
  DEFAULT_ACCOUNT_SETTINGS,
  type CellPolicy,
} from "./account-settings.ts";
/** Messages between control plane and node, and their encoding. */
export {
  KV_REVISION_HEADER,
  CELL_FAULTS,
  CELL_STOPS,
  type CellEndReason,
  CellFault,
  type CellFaultReason,
  CellStatus,
  type CellStopReason,
  ConfinementStatus,
  EnrolRequest,
  EnrolResponse,
  KvStatus,
  MessageFromNode,
  MessageToNode,
  NodeReport,
  StateChange,
  WorkerFailure,
} from "./fleet-messages.ts";
/** How a node gets the content that versions name. */
export {
  BLOB_BYTES_MAX,
  blobHead,
  BLOBS_PER_CALL_MAX,
  BlobsRequest,
  readBlobRecords,
  type BlobRecord,
} from "./blob-records.ts";
export { accountOfKey, WorkerKey, workerNameOfKey } from "./worker-key.ts";
/** What workers used. */
export {
  USAGE_BATCH_ROWS_MAX,
  USAGE_SUMS,
  UsageBatch,
  UsageRow,
  usageRowKey,
  type UsageCounts,
  type UsageSum,
} from "./usage.ts";
/** What accounts may use on one day. */
export {
  DAY_QUOTAS_MAX,
  DayBounds,
  dayEndMs,
  dayOf,
  DayQuota,
  DayUse,
  isWithoutDayBounds,
  KV_DAY_LIMITS,
  NO_DAY_BOUNDS,
  NO_DAY_USE,
  stopsWorkers,
  sumOfDayUses,
  usedUpOf,
  type DayLimit,
} from "./day-quota.ts";
/** Calls of a worker's `scheduled()`. */
export {
  SCHEDULED_OUTCOMES,
  SCHEDULED_RUNS_MAX,
  ScheduledEnd,
  ScheduledEvent,
  ScheduledRun,
  type ScheduledOutcome,
} from "./scheduled-events.ts";
/** What watchers are told of a worker. */
export {
  Tail,
  TailEvent,
  TailFilter,
  TailFilters,
  TailNews,
  TAILS_MAX,
  type ToldEvent,
} from "./tail.ts";
export { LinkChannel } from "./link-channel.ts";
export { decodeMessage, encodeLongMessage, encodeMessage, WIRE_MESSAGE_BYTES_MAX } from "./wire.ts";
/** What protects the messages: signatures of the desired state, boxes for secrets. */
export {
  fleetKeyFromSeed,
  isSignedState,
  publicFleetKey,
  signLargeState,
  signState,
} from "./state-signature.ts";
export { importPublicKey, openBox, rawPublicKey, sealBox } from "./sealed-box.ts";
/** The check that a version starts, which a node's machinery implements. */
export type { Preflight, PreflightCandidate, PreflightResult } from "../preflight/preflight.ts";
