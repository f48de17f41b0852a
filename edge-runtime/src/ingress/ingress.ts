import type { Region, WorkerKey } from "@atoll/control-plane/contract";
import type { Logger } from "pino";
import type { EdgeErrorCode } from "../errors.ts";
import type { Split } from "./split.ts";
import type { TargetKey } from "./target-key.ts";

/** A route pattern (`host/path`, `*` as documented for Workers routes) and the worker behind it. */
export interface Route {
  readonly pattern: string;
  readonly worker: WorkerKey;
}

/** What of routing is not a pattern. */
export interface Routing {
  /** Workers that two versions serve; requests to them go to the targets of these. */
  readonly splits?: ReadonlyArray<Split>;
  /**
   * Hosts of workers that have previews: a request to `<label>-<host>` without a route goes to the worker's
   * target by that label, over the activator each time.
   */
  readonly previewHosts?: ReadonlyMap<string, WorkerKey>;
}

/** A worker that is ready: where it listens, and what its start cost the request that waited for it. */
export interface Activation {
  /** Absolute path of the unix socket. */
  readonly socketPath: string;
  /** Milliseconds that starting took; absent when the cell was warm already. */
  readonly coldMs?: number;
}

/**
 * Why a cell broke off what it had in flight: it was ended for a limit, by its code, or nothing that it was
 * asked was the reason, because it lives, or because it was killed from outside or asked to end.
 */
export type CellLoss = EdgeErrorCode | "alive" | "killed";

/** Makes a cold target ready. Many calls for one start one cell. */
export interface Activator {
  /**
   * Rejected with `queue_full`, `cell_failed`, `cell_start_timeout` or, while a worker rests that failed
   * repeatedly, with `cell_backoff`, `cpu_exceeded` or `memory_exceeded`; a preview also with
   * `preview_unknown` or `preview_unavailable`.
   */
  activate(target: TargetKey): Promise<Activation>;
  /**
   * Why the cell behind a socket broke off what it had in flight; `undefined` when it ended by itself, or
   * nobody knows. Resolves at once for a cell that lives, and for one that is dying as soon as its end is
   * known, or after `LIMITS.cellEndMs`.
   */
  lossOf(socketPath: string): Promise<CellLoss | undefined>;
}

/** One request that was routed to a worker and has ended, a WebSocket included. */
export interface ServedRequest {
  readonly worker: WorkerKey;
  /** The latest cell that had it; `undefined` when none had, as when the worker does not start. */
  readonly socketPath: string | undefined;
  /** Of the answer, be it the worker's or a page of the ingress; else `NO_ANSWER_STATUS`. */
  readonly status: number;
  /** Of its body, as far as the cell took it. Framing does not count; all that a WebSocket carries does. */
  readonly bytesIn: number;
  /** Of the body of the worker's answer, as far as it went out. A page of the ingress counts nothing. */
  readonly bytesOut: number;
  /** From its head to its end. */
  readonly wallMs: number;
  /** It got a page in place of its worker, as `Ingress.refuse` says: its account is charged nothing. */
  readonly isRefused?: true;
}

/** What is counted for a request that ended before anything of its answer was sent. */
export const NO_ANSWER_STATUS = 499;

/** Told of each request once, soon after its end. Must be cheap and must not throw. */
export type OnServed = (request: ServedRequest) => void;

/** A request that failed, and not by its client's fault. */
export interface RequestFailure {
  readonly code: EdgeErrorCode;
  readonly worker: WorkerKey;
  readonly ray: string;
  readonly method: string;
  /** As its cell saw it, or was to. */
  readonly head: {
    readonly host: string;
    readonly target: string;
    /** Names and values in turn. */
    readonly headers: ReadonlyArray<string>;
  };
  readonly cause?: unknown;
}

/** Told of each request that failed, when it does. Must be cheap and must not throw. */
export type OnFailure = (failure: RequestFailure) => void;

export interface IngressCounters {
  readonly requests: number;
  /** Requests that failed and not by their client's fault. */
  readonly errors: number;
  readonly openConnections: number;
  /** Requests and WebSockets that a cell has. */
  readonly inFlight: number;
  /** How often the process that accepts requests had to be started again. */
  readonly restarts: number;
}

/** The requests of one cell's socket, WebSockets among them. */
export interface RequestCounts {
  /** Since the socket was published; starts anew when the ingress itself had to. */
  readonly begun: number;
  readonly inFlight: number;
}

/** What several sockets got together, or one over several ways. */
export function sumOfRequests(counts: ReadonlyArray<RequestCounts>): RequestCounts {
  return {
    begun: counts.reduce((sum, { begun }) => sum + begun, 0),
    inFlight: counts.reduce((sum, { inFlight }) => sum + inFlight, 0),
  };
}

/** What every ingress is opened with. */
export interface IngressOptions {
  /** Address to listen on; the machine itself by default. */
  readonly address?: string;
  readonly region: Region;
  readonly activator: Activator;
  readonly log: Logger;
  readonly onServed?: OnServed;
  readonly onFailure?: OnFailure;
  /** Smaller bounds than those of `LIMITS`. */
  readonly drainMs?: number;
  readonly requestHeadMs?: number;
  readonly webSocketsMax?: number;
  readonly answerIdleMs?: number;
}

/**
 * Accepts requests on a node and finds the cell for each. Implementations share one conformance suite,
 * `ingress.conformance.ts`.
 */
export interface Ingress {
  /** Where it listens, such as `http://127.0.0.1:4401`. */
  readonly url: string;
  /**
   * Replaces all routes and splits at once; requests in flight go on. Throws `route_invalid` and changes
   * nothing. `SplitChooser` says which version of a split gets which request.
   */
  setRoutes(routes: ReadonlyArray<Route>, routing?: Routing): void;
  /**
   * Says where a target's warm cells listen; a new request goes to the one with the fewest in flight, the
   * first of equals. At most `LIMITS.workerCellsMax` of them are used. None makes the target cold: its next
   * request goes through the activator.
   */
  publish(target: TargetKey, socketPaths: ReadonlyArray<string>): void;
  /**
   * Names the workers whose accounts have used up their day: from now on requests to them, whichever version or
   * preview they ask for, get the page of `day_quota_exceeded`. What is in flight goes on.
   */
  refuse(workers: ReadonlySet<WorkerKey>): void;
  /**
   * Resolves when every new request is treated by the routes and sockets that were set before this call:
   * an ingress that is another process learns of them within a millisecond, not at once.
   */
  settled(): Promise<void>;
  /**
   * Resolves when no request is in flight to a socket that is no longer published, or after
   * `LIMITS.drainMs`: then what is left, such as a WebSocket, is closed.
   */
  drain(socketPath: string): Promise<void>;
  counters(): Promise<IngressCounters>;
  /** What went to a socket that is published or drains; nothing of any other. */
  requestsOf(socketPath: string): Promise<RequestCounts>;
  /** Stops accepting, drains for at most `LIMITS.drainMs`, then closes. May be called twice. */
  close(): Promise<void>;
}
