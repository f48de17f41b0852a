/** The composition of a control plane. */
export {
  createControlPlane,
  type ControlPlane,
  type ControlPlaneOptions,
} from "./control-plane.ts";
/** The check that a version starts, made once for each content. */
export { RememberedPreflight } from "./preflight/remembered-preflight.ts";
/** What operators do to the database without a running control plane. */
export type { DatabasePlace } from "./database/database.ts";
export { openAccountsService } from "./accounts/open-accounts-service.ts";
export { openNodesService } from "./nodes/open-nodes-service.ts";
/** What an account may have. */
export { AccountQuota } from "./accounts/quota.ts";
/** The fleet's state, as its nodes tell it. */
export { FleetStatus } from "./fleet/status.ts";
/** What workers used, as the API tells it. */
export { WorkerUsage } from "./usage/schemas.ts";
export { AccountDay } from "./usage/account-day.ts";
/** Copies of all that an installation keeps. */
export { backUp } from "./backup/backup.ts";
export { BackupError } from "./backup/backup-error.ts";
export { restoreBackup } from "./backup/restore.ts";
/** The master key, and how it is replaced. */
export {
  openMasterKeyRotation,
  type MasterKeyRotation,
} from "./secrets/open-master-key-rotation.ts";
/** Who changed what, as the API tells it. */
export { openAuditTrail } from "./audit/open-audit-trail.ts";
export { AuditQuery, AuditRecord } from "./audit/schemas.ts";
/** API tokens, as the API lists them and shows a new one. */
export { CreatedToken, ListedToken } from "./tokens/schemas.ts";
/** Domains of an account, as the API tells them. */
export { ListedDomain, type OwnershipRule } from "./ownership/schemas.ts";
export { takeDomain } from "./ownership/take-domain.ts";
/** Schedules and what became of them, as the API tells it. */
export { ScheduleStatus } from "./schedules/schemas.ts";
/** What looks after KV namespaces, as the API tells it. */
export {
  AccountKvStatus,
  ImportResult,
  NamespaceCheck,
  RestoreResult,
} from "./kv-namespaces/management-schemas.ts";
export { openNamespacesService } from "./kv-namespaces/open-namespaces-service.ts";
/** How calls fail. */
export { CONTROL_PLANE_ERRORS, ControlPlaneError, type ControlPlaneErrorCode } from "./errors.ts";
export { LIMITS } from "./limits.ts";
