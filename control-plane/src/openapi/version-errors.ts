import type { ControlPlaneErrorCode } from "../errors.ts";

/** Ways in which a version that cannot be made, or started, is refused. */
export const VERSION_ERRORS = [
  "invalid_binding",
  "unsupported_binding",
  "inherit_invalid",
  "namespace_not_found",
  "bound_service_not_found",
  "startup_failed",
  "preflight_unavailable",
  "conflict",
  "busy",
  "blobs_unavailable",
  "blob_corrupt",
  "secret_unreadable",
] as const satisfies ReadonlyArray<ControlPlaneErrorCode>;

/** Ways in which an upload is refused. */
export const UPLOAD_ERRORS = [
  ...VERSION_ERRORS,
  "invalid_multipart",
  "invalid_metadata",
  "invalid_module",
  "invalid_compatibility",
  "unsupported",
  "body_too_large",
  "script_too_large",
  "asset_session_invalid",
  "tail_consumer_invalid",
] as const satisfies ReadonlyArray<ControlPlaneErrorCode>;
