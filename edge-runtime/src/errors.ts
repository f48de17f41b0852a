interface ErrorKind {
  /** What a client of the ingress sees when this error answers its request. */
  readonly status: number;
  /** The same call, unchanged, may succeed later. */
  readonly retryable: boolean;
  readonly meaning: string;
}

/** Every code that this package reports. */
export const EDGE_ERRORS = {
  config_invalid: {
    status: 500,
    retryable: false,
    meaning: "workerd refused the configuration made for a group of workers",
  },
  cell_failed: {
    status: 502,
    retryable: false,
    meaning: "a cell's process ended before it listened; its code does not start",
  },
  cell_start_timeout: {
    status: 503,
    retryable: true,
    meaning: "a cell took longer than LIMITS.cellStartMs to listen",
  },
  cell_backoff: {
    status: 503,
    retryable: true,
    meaning: "a cell failed repeatedly and is not started again yet",
  },
  queue_full: {
    status: 503,
    retryable: true,
    meaning: "too many requests wait for a cold worker already",
  },
  worker_unknown: {
    status: 404,
    retryable: false,
    meaning: "this node does not run the worker",
  },
  superseded: {
    status: 503,
    retryable: false,
    meaning: "a newer desired state replaced this one before it was applied",
  },
  not_enrolled: {
    status: 500,
    retryable: false,
    meaning: "the node has no identity in a fleet, and could not get one",
  },
  blob_unavailable: {
    status: 503,
    retryable: true,
    meaning: "content that a worker needs is not on this node and could not be fetched intact",
  },
  state_refused: {
    status: 500,
    retryable: false,
    meaning: "a desired state is not signed by the fleet's key, malformed, or older than what runs",
  },
  closed: {
    status: 503,
    retryable: true,
    meaning: "the part of the node that was called has been shut down",
  },
} as const satisfies Record<string, ErrorKind>;

export type EdgeErrorCode = keyof typeof EDGE_ERRORS;

/** The one error class of this package. Decisions read `code`, never the message. */
export class EdgeError extends Error {
  readonly code: EdgeErrorCode;

  constructor(code: EdgeErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "EdgeError";
    this.code = code;
  }

  /** What a client sees, and whether it may try again. */
  get kind(): ErrorKind {
    return EDGE_ERRORS[this.code];
  }
}
