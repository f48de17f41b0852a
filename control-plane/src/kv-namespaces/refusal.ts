import { KvError, type KvErrorCode } from "@atoll/kv-store";
import { ControlPlaneError, type ControlPlaneErrorCode } from "../errors.ts";

/** The store's refusals by the API's codes. What a caller of the API can't cause is `internal`. */
const CODES: Readonly<Record<KvErrorCode, ControlPlaneErrorCode>> = {
  key_invalid: "kv_key_invalid",
  key_too_long: "kv_key_too_long",
  value_too_large: "kv_value_too_large",
  metadata_invalid: "kv_metadata_invalid",
  metadata_too_large: "kv_metadata_invalid",
  expiration_invalid: "kv_expiration_invalid",
  cursor_invalid: "kv_cursor_invalid",
  limit_invalid: "kv_limit_invalid",
  bulk_invalid: "kv_bulk_invalid",
  // A field of a bulk read, which checks it as the binding does and has no other use for it.
  cache_ttl_invalid: "kv_bulk_invalid",
  bulk_too_large: "kv_bulk_too_large",
  moment_unknown: "kv_moment_unknown",
  import_invalid: "kv_import_invalid",
  rate_exceeded: "kv_rate_exceeded",
  daily_writes_exceeded: "kv_daily_writes_exceeded",
  daily_reads_exceeded: "kv_daily_reads_exceeded",
  daily_lists_exceeded: "kv_daily_lists_exceeded",
  storage_exceeded: "kv_storage_exceeded",
  namespace_not_found: "namespace_not_listed",
  busy: "busy",
  closed: "kv_unavailable",
  storage_failed: "kv_unavailable",
  value_unavailable: "kv_unavailable",
  value_gone: "kv_unavailable",
  origin_unreachable: "kv_unavailable",
  request_invalid: "internal",
  capability_unknown: "internal",
  precondition_failed: "internal",
  replica_behind: "internal",
  replica_damaged: "internal",
  protocol_violation: "internal",
  internal: "internal",
};

/** An error of the key-value store as one of the API, with the store's own sentence. */
export function refusalOf(error: KvError): ControlPlaneError {
  return new ControlPlaneError(CODES[error.code], error.message, { cause: error });
}

/** Runs `parse`; what it refuses is said of `subject`, such as `entry 3`. */
export function parseAs<Result>(subject: string, parse: () => Result): Result {
  try {
    return parse();
  } catch (error) {
    const refusal = error instanceof KvError ? refusalOf(error) : error;
    if (!(refusal instanceof ControlPlaneError)) throw error;
    throw new ControlPlaneError(refusal.code, `${subject}: ${refusal.message}`, { cause: error });
  }
}
