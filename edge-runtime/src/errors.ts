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
  run_directory_too_long: {
    status: 500,
    retryable: false,
    meaning: "the directory for cells is so deep that paths of unix sockets in it do not fit",
  },
  run_directory_unreachable: {
    status: 500,
    retryable: false,
    meaning: "the directory for cells lies below one that the user of cells can't pass through",
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
  cpu_exceeded: {
    status: 503,
    retryable: true,
    meaning:
      "a cell was ended because one turn of its thread took more CPU time than the worker may",
  },
  memory_exceeded: {
    status: 503,
    retryable: true,
    meaning: "a cell was ended because it took more memory than its account grants",
  },
  sandbox_missing: {
    status: 500,
    retryable: false,
    meaning: "the host lacks what cells need to be confined, and the node must not run without it",
  },
  day_quota_exceeded: {
    status: 429,
    retryable: true,
    meaning: "the worker's account has used up the requests or the CPU time of its day (UTC)",
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
  preview_unknown: {
    status: 404,
    retryable: false,
    meaning: "the worker has no version or alias as the host of its preview names it",
  },
  preview_unavailable: {
    status: 503,
    retryable: true,
    meaning: "the control plane can't be asked which version a preview is, or too many ask at once",
  },
  route_invalid: {
    status: 400,
    retryable: false,
    meaning: "a route pattern is malformed",
  },
  host_unknown: {
    status: 404,
    retryable: false,
    meaning: "no route leads from the request's host and path to a worker",
  },
  worker_threw: {
    status: 500,
    retryable: false,
    meaning: "the worker threw while it handled the request",
  },
  cell_lost: {
    status: 502,
    retryable: true,
    meaning: "a cell's process ended with the request in flight",
  },
  request_invalid: {
    status: 400,
    retryable: false,
    meaning: "a request is malformed, or its framing or host is ambiguous",
  },
  request_url_too_long: {
    status: 414,
    retryable: false,
    meaning: "a request's URL is longer than LIMITS.requestUrlBytesMax",
  },
  request_head_too_large: {
    status: 431,
    retryable: false,
    meaning:
      "a request's URL and header lines are more than LIMITS.requestHeadBytesMax or headerLinesMax",
  },
  request_body_too_large: {
    status: 413,
    retryable: false,
    meaning: "a request's body is larger than LIMITS.requestBodyBytesMax",
  },
  websockets_full: {
    status: 503,
    retryable: true,
    meaning: "a cell has LIMITS.cellWebSocketsMax WebSockets already",
  },
  answer_head_too_large: {
    status: 502,
    retryable: false,
    meaning: "a worker's header lines are more than LIMITS.cellHeadBytesMax or headerLinesMax",
  },
  answer_invalid: {
    status: 502,
    retryable: false,
    meaning: "a worker's answer has bytes in its head that HTTP allows nowhere there",
  },
  answer_timeout: {
    status: 504,
    retryable: true,
    meaning: "a worker sent nothing of its answer for LIMITS.cellAnswerIdleMs",
  },
  request_timeout: {
    status: 408,
    retryable: true,
    meaning: "a request's head or body stopped arriving",
  },
  ingress_unavailable: {
    status: 500,
    retryable: true,
    meaning: "HAProxy is missing, does not start, or does not follow its runtime socket",
  },
  metrics_unavailable: {
    status: 500,
    retryable: true,
    meaning: "the port that a node's metrics should be read at can't be had",
  },
  egress_denied: {
    status: 403,
    retryable: false,
    meaning: "a worker called an address or port that the egress rules do not allow",
  },
  egress_invalid: {
    status: 400,
    retryable: false,
    meaning: "a cell's outgoing request is malformed",
  },
  egress_busy: {
    status: 503,
    retryable: true,
    meaning: "one cell has more outgoing requests in flight than LIMITS.egressRequestsMax",
  },
  subrequests_exceeded: {
    status: 429,
    retryable: false,
    meaning: "a worker made more subrequests than its requests allow",
  },
  egress_unreachable: {
    status: 502,
    retryable: true,
    meaning: "a host that a worker called could not be resolved or reached",
  },
  egress_timeout: {
    status: 504,
    retryable: true,
    meaning: "a host that a worker called did not answer in time",
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
  secrets_unreadable: {
    status: 500,
    retryable: false,
    meaning: "a worker's secrets are not sealed to this node's key, or were changed",
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
