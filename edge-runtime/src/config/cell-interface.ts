/** Headers between the node and its cells. The ingress strips them from what clients send. */
export const HEADERS = {
  /** JSON of `request.cf`. workerd takes it off the request. */
  cf: "x-atoll-cf",
  /** The capability to tell what happens to a worker, on every call of its tail. */
  tail: "x-atoll-tail",
  /** The capability that opens a KV namespace, on every call of a worker's binding. */
  kv: "x-atoll-kv",
  /**
   * `http` or `https`, as the client spoke to the ingress: the scheme of `request.url`, and `http` without
   * it. workerd takes it off the request, so it cannot be the `x-forwarded-proto` that workers read.
   */
  protocol: "x-atoll-protocol",
} as const;

/**
 * The socket of every cell that answers without touching an isolate: it answers in a millisecond, and
 * not at all while JavaScript holds the thread.
 */
export const HEALTH_SOCKET = "health";

/** Sockets of the node that every config expects in the cell's directory. */
export type ServiceSocket = "kv.sock" | "egress.sock" | "cache.sock";

/** The one that is expected where a worker of the cell is watched. */
export const TAIL_SOCKET = "tail.sock";
