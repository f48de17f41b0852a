/** How an error is answered. `cloudflareCode` is what wrangler decides by; see its API reference. */
interface ErrorKind {
  readonly status: number;
  readonly cloudflareCode: number;
  /** The same call, unchanged, may succeed later. */
  readonly retryable: boolean;
  readonly meaning: string;
}

/** A mistake of the caller: the same call fails again. */
function refusal(status: number, cloudflareCode: number, meaning: string): ErrorKind {
  return { status, cloudflareCode, retryable: false, meaning };
}

/** Every way in which a call of this package fails. Decisions read the code, never the message. */
export const CONTROL_PLANE_ERRORS = {
  unauthenticated: refusal(401, 10_000, "No token, or one that nobody was given."),
  token_unknown: refusal(
    401,
    9_109,
    "As unauthenticated, where the question is whose token it is.",
  ),
  token_not_personal: refusal(400, 1_000, "The token is of an account, not of a person."),
  user_unknown: refusal(404, 9_109, "There is no person behind the token."),
  account_forbidden: refusal(403, 10_000, "The token is of another account than the path."),
  role_insufficient: refusal(403, 10_000, "The token's role may not do this."),
  scope_exceeded: refusal(403, 10_000, "The token is for one worker or namespace, not for this."),
  token_not_found: refusal(404, 1_003, "The account has no API token with this id."),
  token_expired: refusal(400, 10_001, "A token is asked for that would have expired already."),
  token_last_admin: refusal(409, 10_001, "Without this token nobody could make another."),
  tokens_exceeded: refusal(400, 10_001, "The account has as many API tokens as allowed."),
  not_found: refusal(404, 7_000, "No such address."),
  method_not_allowed: refusal(405, 7_001, "The address exists, but not with this method."),
  invalid_body: refusal(400, 10_001, "A body, query or name is not of the documented form."),
  body_too_large: refusal(413, 10_027, "A body is larger than the limit of its kind."),
  invalid_multipart: refusal(400, 10_001, "The body is not well-formed multipart/form-data."),
  invalid_metadata: refusal(400, 10_002, "The upload's metadata is not JSON of the known form."),
  invalid_module: refusal(
    400,
    10_021,
    "A module is unnamed, doubled, missing or of no known type.",
  ),
  invalid_compatibility: refusal(400, 10_021, "A compatibility date or flag is not known."),
  invalid_worker_name: refusal(400, 10_016, "The worker's name is too long or has bad characters."),
  worker_name_taken: refusal(409, 10_040, "Another account has a worker of this name."),
  workers_exceeded: refusal(403, 10_037, "The account has as many workers as its quota allows."),
  script_too_large: refusal(
    413,
    10_027,
    "A version's modules are larger than the account's quota.",
  ),
  assets_exceeded: refusal(
    413,
    10_027,
    "A version has more assets, or bytes, than the account's quota.",
  ),
  worker_not_found: refusal(404, 10_007, "The account has no worker of this name."),
  worker_of_project: refusal(409, 10_040, "The worker is a Pages project's, which publishes it."),
  worker_in_use: refusal(409, 10_064, "Other workers call the one that is to be deleted."),
  version_not_deployed: refusal(409, 10_215, "The newest version is not the one that serves."),
  secrets_changed: refusal(409, 10_220, "A rollback would bring back earlier values of secrets."),
  service_not_found: refusal(404, 10_090, "The account has no service of this name."),
  version_not_found: refusal(
    404,
    10_222,
    "The worker has no version with this id, or none at all.",
  ),
  deployment_invalid: refusal(400, 10_001, "The versions of a deployment do not add up."),
  unsupported: refusal(400, 10_023, "Atoll does not have this feature yet."),
  unsupported_binding: refusal(400, 10_023, "Atoll does not have this type of binding yet."),
  invalid_binding: refusal(
    400,
    10_021,
    "A binding lacks a field, two have the same name, or there are too many.",
  ),
  binding_name_taken: refusal(400, 10_053, "A binding of another type has the secret's name."),
  inherit_invalid: refusal(400, 10_057, "Nothing to inherit under a binding's name."),
  namespace_not_found: refusal(404, 10_041, "The account has no key-value namespace with this id."),
  namespace_not_listed: refusal(404, 10_013, "The key-value namespace of a call does not exist."),
  namespace_title_taken: refusal(400, 10_014, "A namespace with this title exists already."),
  namespace_id_invalid: refusal(400, 10_011, "A namespace id is not 32 hexadecimal digits."),
  namespace_title_invalid: refusal(400, 10_019, "A namespace's title is missing or too long."),
  namespace_bound: refusal(409, 10_052, "A deployed worker binds the namespace."),
  namespaces_exceeded: refusal(400, 10_018, "The account has as many namespaces as allowed."),
  kv_key_not_found: refusal(404, 10_009, "The namespace has no such key."),
  kv_key_invalid: refusal(400, 10_042, "The key is empty, `.`, `..` or not valid UTF-8."),
  kv_key_too_long: refusal(414, 10_030, "The key, or a prefix, has over 512 bytes."),
  kv_value_invalid: refusal(400, 10_012, "A value is missing or not in its announced encoding."),
  kv_value_too_large: refusal(413, 10_024, "The value has over 25 MiB."),
  kv_metadata_invalid: refusal(400, 10_047, "The metadata is not JSON, or has over 1,024 bytes."),
  kv_expiration_invalid: refusal(400, 10_033, "The expiration is no number or too soon."),
  kv_expiration_ttl_invalid: refusal(400, 10_034, "The time to live is no number or under 60 s."),
  kv_cursor_invalid: refusal(400, 10_041, "The cursor was not made by this listing."),
  kv_limit_invalid: refusal(400, 10_028, "A listing's limit is not from 10 to 1,000."),
  kv_bulk_invalid: refusal(400, 10_029, "A bulk call's body is not of the documented form."),
  kv_moment_unknown: refusal(
    400,
    10_001,
    "The log of a namespace does not reach back to that moment, or it is still to come.",
  ),
  kv_import_invalid: refusal(400, 10_029, "A line of an import breaks the format or a limit."),
  kv_storage_exceeded: refusal(
    413,
    10_048,
    "The account would have more keys or bytes than it may.",
  ),
  kv_bulk_too_large: refusal(413, 10_024, "A bulk call, or what it reads, is over its limit."),
  bound_service_not_found: refusal(400, 10_143, "A binding names a worker that does not exist."),
  startup_failed: refusal(400, 10_021, "The worker did not start."),
  secret_not_found: refusal(404, 10_056, "The worker has no secret of this name."),
  asset_invalid: refusal(
    400,
    10_304,
    "An asset's path, size or content is not what was announced.",
  ),
  asset_session_invalid: refusal(
    401,
    10_305,
    "The upload's token is wrong, of another worker, or old.",
  ),
  pages_token_invalid: refusal(
    401,
    8_000_013,
    "The token of an upload to Pages is wrong, or expired.",
  ),
  pages_project_not_found: refusal(404, 8_000_007, "The account has no Pages project so named."),
  pages_project_name_taken: refusal(409, 8_000_002, "A project or worker has this name already."),
  pages_deployment_not_found: refusal(404, 8_000_009, "The project has no such deployment."),
  pages_deployment_active: refusal(409, 8_000_034, "The deployment serves the project's host."),
  pages_deployment_aliased: refusal(
    409,
    8_000_035,
    "A branch's host leads to the deployment: it is removed by force alone.",
  ),
  tail_consumer_invalid: refusal(
    400,
    10_144,
    "A tail consumer does not exist, or would hear of its own calls.",
  ),
  tails_exceeded: refusal(409, 10_058, "As many tails are open as a worker or account may have."),
  route_invalid: refusal(400, 10_022, "A route pattern is not of the form host/path."),
  cron_invalid: refusal(400, 10_100, "A schedule is no cron expression, or never comes."),
  schedules_exceeded: refusal(400, 10_100, "The worker would have more schedules than it may."),
  route_conflict: refusal(409, 10_020, "Another worker has this route."),
  domain_invalid: refusal(400, 1_001, "This is no domain that anybody can claim."),
  domain_not_found: refusal(404, 1_001, "The account has no claim to this domain, or no longer."),
  domain_taken: refusal(409, 1_061, "Another account has proved that this domain is its own."),
  domain_unproved: refusal(403, 1_049, "A route needs a host that the account has proved."),
  domain_in_use: refusal(409, 1_061, "Routes lead to hosts of the domain that is to be released."),
  domains_exceeded: refusal(400, 1_105, "The account has as many domains and claims as allowed."),
  domain_challenge_unmet: {
    status: 409,
    cloudflareCode: 1_049,
    retryable: true,
    meaning: "The TXT record that proves a domain is not there yet, or says something else.",
  },
  domain_lookup_failed: {
    status: 503,
    cloudflareCode: 1_049,
    retryable: true,
    meaning: "The DNS resolver did not answer, or could not say what the TXT record is.",
  },
  join_token_invalid: refusal(401, 10_000, "The join token is unknown, used or expired."),
  blob_mismatch: refusal(400, 10_001, "Content does not have the hash it was sent under."),
  blob_corrupt: {
    status: 500,
    cloudflareCode: 10_002,
    retryable: false,
    meaning: "Stored content no longer has its hash: the disk damaged it.",
  },
  blobs_unavailable: {
    status: 503,
    cloudflareCode: 10_002,
    retryable: true,
    meaning: "What holds the blobs, a disk or a bucket, is full or can't be reached now.",
  },
  secret_unreadable: {
    status: 500,
    cloudflareCode: 10_002,
    retryable: false,
    meaning: "A sealed secret does not open: the master key is another one.",
  },
  busy: {
    status: 503,
    cloudflareCode: 10_002,
    retryable: true,
    meaning: "As many calls of this kind as allowed are in progress.",
  },
  rate_limited: {
    status: 429,
    cloudflareCode: 971,
    retryable: true,
    meaning:
      "The token or address has made as many calls as it may; `retry-after` says for how long.",
  },
  kv_rate_exceeded: {
    status: 429,
    cloudflareCode: 10_048,
    retryable: true,
    meaning: "The account has made as many writes to its namespaces in this second as it may.",
  },
  kv_daily_writes_exceeded: {
    status: 429,
    cloudflareCode: 10_048,
    retryable: true,
    meaning: "The account has made as many writes to its namespaces today (UTC) as it may.",
  },
  kv_daily_reads_exceeded: {
    status: 429,
    cloudflareCode: 10_048,
    retryable: true,
    meaning: "The account has read as many keys of its namespaces today (UTC) as it may.",
  },
  kv_daily_lists_exceeded: {
    status: 429,
    cloudflareCode: 10_048,
    retryable: true,
    meaning: "The account has listed its namespaces' keys as often today (UTC) as it may.",
  },
  kv_unavailable: {
    status: 503,
    cloudflareCode: 10_001,
    retryable: true,
    meaning: "The key-value store, or the content of a large value, can't be reached now.",
  },
  database_unavailable: {
    status: 503,
    cloudflareCode: 10_002,
    retryable: true,
    meaning:
      "The database can't be reached, or its disk is full; `retry-after` says when to look again.",
  },
  conflict: {
    status: 409,
    cloudflareCode: 10_002,
    retryable: true,
    meaning: "Another call changed the same worker meanwhile.",
  },
  preflight_unavailable: {
    status: 503,
    cloudflareCode: 10_002,
    retryable: true,
    meaning: "The check that a worker starts could not be made.",
  },
  thread_died: {
    status: 503,
    cloudflareCode: 10_002,
    retryable: true,
    meaning: "The thread that did a part of the call's work died; another one takes its place.",
  },
  internal: {
    status: 500,
    cloudflareCode: 10_002,
    retryable: true,
    meaning: "A defect; the log holds its cause.",
  },
} as const satisfies Record<string, ErrorKind>;

export type ControlPlaneErrorCode = keyof typeof CONTROL_PLANE_ERRORS;

/** The one error class of this package. Its message may be shown to whoever made the call. */
export class ControlPlaneError extends Error {
  override readonly name = "ControlPlaneError";
  readonly code: ControlPlaneErrorCode;
  /** After how many seconds the same call may succeed, where that is known. */
  readonly retryAfterSeconds: number | undefined;

  constructor(
    code: ControlPlaneErrorCode,
    message: string,
    options?: { readonly cause?: unknown; readonly retryAfterSeconds?: number },
  ) {
    super(message, options);
    this.code = code;
    this.retryAfterSeconds = options?.retryAfterSeconds;
  }

  get status(): number {
    return CONTROL_PLANE_ERRORS[this.code].status;
  }

  get cloudflareCode(): number {
    return CONTROL_PLANE_ERRORS[this.code].cloudflareCode;
  }

  get retryable(): boolean {
    return CONTROL_PLANE_ERRORS[this.code].retryable;
  }
}
