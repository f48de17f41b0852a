import {
  CELL_FAULTS,
  CELL_STOPS,
  type CellEndReason,
  type KvStatus,
} from "@atoll/control-plane/contract";
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { CellEnded, CellListener, CellStarted } from "../cells/cell-events.ts";
import type { CellSupervisor } from "../cells/cell-supervisor.ts";
import type { IngressCounters, ServedRequest } from "../ingress/ingress.ts";
import { LIMITS } from "../limits.ts";

/** What is read anew for each scrape. */
export interface NodeReadings {
  readonly cells: CellSupervisor["counts"];
  readonly zygotes: number;
  readonly ingress: IngressCounters;
  readonly kv: ReadonlyArray<KvStatus>;
  readonly usageBatchesPending: number;
  readonly link: { readonly isConnected: boolean; readonly revision: number };
}

const STATUS_CLASSES = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const LABELS: ReadonlyMap<CellEndReason, string> = new Map(
  [...CELL_FAULTS, ...CELL_STOPS].map((reason) => [reason, snakeCase(reason)]),
);
/** A zygote answers in 15 ms; the last bound is that of `LIMITS.cellStartMs`. */
const START_SECONDS = [0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10];

/**
 * Counts what a node does, and writes it as Prometheus reads it. No label holds what a tenant chose: they
 * are closed sets, and the ids of the first `LIMITS.metricsNamespacesMax` namespaces. docs/metrics.md
 * lists them.
 */
export class NodeMetrics implements CellListener {
  readonly #registry = new Registry();
  /** Requests by the first digit of their status: cheaper than a labelled counter, and added at each scrape. */
  readonly #served = STATUS_CLASSES.map(() => 0);
  readonly #starts = this.#counter("atoll_cell_starts_total", {
    help: "Cells that were started, by whether they came to listen.",
    labels: ["result"],
  });
  readonly #startSeconds = new Histogram({
    name: "atoll_cell_start_seconds",
    help: "From the request for a process until its cell listened.",
    buckets: START_SECONDS,
    registers: [this.#registry],
  });
  readonly #ends = this.#counter("atoll_cell_ends_total", {
    help: "Cells that ended, by why.",
    labels: ["reason"],
  });
  readonly #cells = this.#gauge("atoll_cells", {
    help: "Cells that run, by whether new requests go to them.",
    labels: ["state"],
  });
  readonly #zygotes = this.#gauge("atoll_zygotes", {
    help: "Processes that wait to become a cell.",
  });
  readonly #activationsWaiting = this.#gauge("atoll_activations_waiting", {
    help: "Requests that wait for a cold cell.",
  });
  readonly #requests = this.#counter("atoll_requests_total", {
    help: "Requests that were routed to a worker and have ended, by the class of their status.",
    labels: ["status"],
  });
  readonly #refusals = this.#counter("atoll_quota_refusals_total", {
    help: "Requests that were refused because their account has used up its day.",
  });
  readonly #requestsInFlight = this.#gauge("atoll_requests_in_flight", {
    help: "Requests and WebSockets that a cell has.",
  });
  readonly #connections = this.#gauge("atoll_client_connections", {
    help: "Connections of clients that are open.",
  });
  readonly #ingressErrors = this.#counter("atoll_ingress_errors_total", {
    help: "Requests that failed and not by their client's fault.",
  });
  readonly #ingressRestarts = this.#counter("atoll_ingress_restarts_total", {
    help: "Times that HAProxy was started again after it had ended.",
  });
  readonly #namespaces = this.#gauge("atoll_kv_namespaces", {
    help: "Namespaces that this node holds, by whether it knows how fresh they are.",
    labels: ["freshness"],
  });
  readonly #kvLag = this.#gauge("atoll_kv_lag_seconds", {
    help: "How far reads of a namespace are behind its origin at most.",
    labels: ["namespace"],
  });
  readonly #kvRevision = this.#gauge("atoll_kv_revision", {
    help: "The revision of a namespace that this node has applied.",
    labels: ["namespace"],
  });
  readonly #kvBytes = this.#gauge("atoll_kv_disk_bytes", {
    help: "What a namespace takes of this node's disk, about.",
    labels: ["namespace"],
  });
  readonly #kvExtents = this.#gauge("atoll_kv_copies", {
    help: "Namespaces by whether all their values are here, have left, or are on their way back.",
    labels: ["extent"],
  });
  readonly #kvStorageFailing = this.#gauge("atoll_kv_storage_failing", {
    help: "Namespaces whose last change this node's disk refused.",
  });
  readonly #usageBatches = this.#gauge("atoll_usage_batches_pending", {
    help: "Batches of usage that the control plane has not acknowledged.",
  });
  readonly #linkConnected = this.#gauge("atoll_link_connected", {
    help: "1 while the link to the control plane stands, else 0.",
  });
  readonly #stateRevision = this.#gauge("atoll_state_revision", {
    help: "The revision of the desired state that this node runs.",
  });
  readonly #cpuSeconds = this.#counter("process_cpu_seconds_total", {
    help: "Processor time of the agent itself.",
  });
  readonly #memory = this.#gauge("process_resident_memory_bytes", {
    help: "Memory of the agent itself.",
  });

  constructor() {
    // A series that begins at its first event hides that event from rate().
    for (const result of ["started", "failed"]) this.#starts.inc({ result }, 0);
    for (const reason of LABELS.values()) this.#ends.inc({ reason }, 0);
  }

  /** Of what `text` returns. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  cellStarted({ startMs }: CellStarted): void {
    this.#starts.inc({ result: "started" });
    this.#startSeconds.observe(startMs / 1_000);
  }

  cellEnded({ reason, pid }: CellEnded): void {
    if (pid === undefined) this.#starts.inc({ result: "failed" });
    this.#ends.inc({ reason: LABELS.get(reason) ?? reason });
  }

  served({ status, isRefused }: ServedRequest): void {
    if (isRefused === true) this.#refusals.inc();
    const index = Math.floor(status / 100) - 1;
    this.#served[index] = (this.#served[index] ?? 0) + 1;
  }

  /** All of it, in the text format of Prometheus. */
  async text(readings: NodeReadings): Promise<string> {
    const { cells, ingress, link } = readings;
    this.#cells.set({ state: "warm" }, cells.warm);
    this.#cells.set({ state: "draining" }, cells.draining);
    this.#zygotes.set(readings.zygotes);
    this.#activationsWaiting.set(cells.waiting);
    this.#requestsInFlight.set(ingress.inFlight);
    this.#connections.set(ingress.openConnections);
    this.#usageBatches.set(readings.usageBatchesPending);
    this.#linkConnected.set(link.isConnected ? 1 : 0);
    this.#stateRevision.set(link.revision);
    this.#memory.set(process.memoryUsage.rss());
    this.#setKv(readings.kv);
    const { user, system } = process.cpuUsage();
    setCount(this.#cpuSeconds, (user + system) / 1e6);
    setCount(this.#ingressErrors, ingress.errors);
    setCount(this.#ingressRestarts, ingress.restarts);
    this.#requests.reset();
    for (const [index, status] of STATUS_CLASSES.entries()) {
      this.#requests.inc({ status }, this.#served[index] ?? 0);
    }
    return this.#registry.metrics();
  }

  #setKv(all: ReadonlyArray<KvStatus>): void {
    const unknown = all.filter(({ lagMs }) => lagMs === null).length;
    this.#namespaces.set({ freshness: "known" }, all.length - unknown);
    this.#namespaces.set({ freshness: "unknown" }, unknown);
    for (const extent of ["whole", "partial", "filling"] as const) {
      this.#kvExtents.set({ extent }, all.filter((each) => each.extent === extent).length);
    }
    this.#kvStorageFailing.set(all.filter(({ isStorageFailing }) => isStorageFailing).length);
    this.#kvLag.reset();
    this.#kvRevision.reset();
    this.#kvBytes.reset();
    // Always the same ones while they are there, so that no series comes and goes with its value.
    const listed = all.toSorted((a, b) => (a.namespace < b.namespace ? -1 : 1));
    const shown = listed.slice(0, LIMITS.metricsNamespacesMax);
    for (const { namespace, revision, lagMs, bytes } of shown) {
      this.#kvBytes.set({ namespace }, bytes);
      this.#kvRevision.set({ namespace }, revision);
      if (lagMs !== null) this.#kvLag.set({ namespace }, lagMs / 1_000);
    }
  }

  #counter(name: string, { help, labels = [] }: Description): Counter {
    return new Counter({ name, help, labelNames: labels, registers: [this.#registry] });
  }

  #gauge(name: string, { help, labels = [] }: Description): Gauge {
    return new Gauge({ name, help, labelNames: labels, registers: [this.#registry] });
  }
}

interface Description {
  readonly help: string;
  readonly labels?: ReadonlyArray<string>;
}

/** Makes a counter say what somebody else has counted. */
function setCount(counter: Counter, count: number): void {
  counter.reset();
  counter.inc(count);
}

function snakeCase(text: string): string {
  return text.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
