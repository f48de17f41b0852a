import type { Revision } from "./names.ts";

/** How an error is answered: `retryable` says that the same call, unchanged, may succeed later. */
interface ErrorKind {
  /** Status of an HTTP answer that carries the error. Never 404: the KV binding reads that as `null`. */
  readonly status: number;
  readonly retryable: boolean;
  readonly meaning: string;
}

/** Every way in which a call of this package fails. Decisions read the code, never the message. */
export const KV_ERRORS = {
  key_invalid: {
    status: 400,
    retryable: false,
    meaning: "The key is empty, `.`, `..` or not valid UTF-8.",
  },
  key_too_long: {
    status: 414,
    retryable: false,
    meaning: "The key, or a prefix, has over 512 bytes.",
  },
  value_too_large: { status: 413, retryable: false, meaning: "The value has over 25 MiB." },
  metadata_invalid: { status: 400, retryable: false, meaning: "The metadata is not JSON." },
  metadata_too_large: {
    status: 413,
    retryable: false,
    meaning: "The metadata has over 1,024 bytes.",
  },
  expiration_invalid: {
    status: 400,
    retryable: false,
    meaning: "The expiration is no number or too soon.",
  },
  cache_ttl_invalid: {
    status: 400,
    retryable: false,
    meaning: "The cache TTL is no number or too short.",
  },
  cursor_invalid: {
    status: 400,
    retryable: false,
    meaning: "The cursor was not made by this listing.",
  },
  limit_invalid: {
    status: 400,
    retryable: false,
    meaning: "A listing's limit is not from 1 to 1,000.",
  },
  bulk_invalid: {
    status: 400,
    retryable: false,
    meaning: "A bulk read's body, type or value is wrong.",
  },
  bulk_too_large: {
    status: 413,
    retryable: false,
    meaning: "The values of a bulk read have over 25 MiB.",
  },
  request_invalid: {
    status: 400,
    retryable: false,
    meaning: "The request is not one of the binding's.",
  },
  capability_unknown: {
    status: 403,
    retryable: false,
    meaning: "The caller may use no namespace.",
  },
  moment_unknown: {
    status: 400,
    retryable: false,
    meaning: "The log does not reach back to that moment, or it is still to come.",
  },
  import_invalid: {
    status: 400,
    retryable: false,
    meaning: "A line of what is to be imported breaks the format or a limit.",
  },
  rate_exceeded: {
    status: 429,
    retryable: true,
    meaning: "The account has made as many writes in this second as it may.",
  },
  daily_writes_exceeded: {
    status: 429,
    retryable: true,
    meaning: "The account has made as many writes today (UTC) as it may.",
  },
  daily_reads_exceeded: {
    status: 429,
    retryable: true,
    meaning: "The account has read as many keys today (UTC) as it may.",
  },
  daily_lists_exceeded: {
    status: 429,
    retryable: true,
    meaning: "The account has listed keys as often today (UTC) as it may.",
  },
  storage_exceeded: {
    status: 413,
    retryable: false,
    meaning: "The account would have more keys or bytes than it may.",
  },
  namespace_not_found: { status: 410, retryable: false, meaning: "The namespace does not exist." },
  precondition_failed: {
    status: 412,
    retryable: false,
    meaning: "The key is not at the revision for which the write was made; nothing was written.",
  },
  origin_unreachable: {
    status: 503,
    retryable: true,
    meaning: "The origin, or its database, was not reached, or its answer was lost.",
  },
  replica_behind: {
    status: 503,
    retryable: true,
    meaning: "The replica has not applied the revision in question.",
  },
  replica_damaged: {
    status: 503,
    retryable: true,
    meaning:
      "What this node holds is not what the origin's history leads to; it is being replaced.",
  },
  value_unavailable: {
    status: 503,
    retryable: true,
    meaning: "A large value could not be fetched or stored.",
  },
  value_gone: {
    status: 503,
    retryable: true,
    meaning:
      "The value was replaced at the origin and this node has not applied that yet, or it is lost.",
  },
  storage_failed: { status: 500, retryable: true, meaning: "The disk or its database refused." },
  busy: { status: 503, retryable: true, meaning: "A bounded queue is full." },
  protocol_violation: {
    status: 400,
    retryable: false,
    meaning: "A peer sent what the protocol does not allow.",
  },
  closed: { status: 503, retryable: true, meaning: "The store was closed meanwhile." },
  internal: { status: 500, retryable: false, meaning: "A defect; the log holds its cause." },
} as const satisfies Record<string, ErrorKind>;

export type KvErrorCode = keyof typeof KV_ERRORS;

interface KvErrorOptions {
  readonly cause?: unknown;
  readonly found?: Revision | undefined;
}

/** The one error class of this package. Its message may be shown to whoever made the call. */
export class KvError extends Error {
  override readonly name = "KvError";
  readonly code: KvErrorCode;
  /** Of `precondition_failed`: the revision that the key has, 0 for none. */
  readonly found: Revision | undefined;

  constructor(code: KvErrorCode, message: string, options: KvErrorOptions = {}) {
    super(message, options);
    this.code = code;
    this.found = options.found;
  }

  get status(): number {
    return KV_ERRORS[this.code].status;
  }

  get retryable(): boolean {
    return KV_ERRORS[this.code].retryable;
  }
}

/** Whether a string from outside names an error of the table. */
export function isKvErrorCode(code: string): code is KvErrorCode {
  return Object.hasOwn(KV_ERRORS, code);
}
