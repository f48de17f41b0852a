import { createServer } from "node:net";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import type { WorkerKey } from "@atoll/control-plane/contract";
import type { Logger } from "pino";
import { reapStaleCells } from "../../cells/stale-cells.ts";
import { allowedCores } from "../../sandbox/allowed-cores.ts";
import { LIMITS } from "../../limits.ts";
import { openFilesMax } from "../../sandbox/kernel-file.ts";
import { BuiltinIngress } from "../builtin/builtin-ingress.ts";
import {
  type Ingress,
  type IngressCounters,
  type IngressOptions,
  type RequestCounts,
  type Route,
  type Routing,
  sumOfRequests,
} from "../ingress.ts";
import { previewNameOf, type TargetKey } from "../target-key.ts";
import { CellServers } from "./cell-servers.ts";
import { isCellBackend } from "./haproxy-config.ts";
import { writeHaproxyFiles } from "./haproxy-files.ts";
import { PATHS } from "./haproxy-paths.ts";
import { HaproxySupervisor } from "./haproxy-supervisor.ts";
import { RequestLog } from "./request-log.ts";
import { haproxyUser, shareSocket } from "./haproxy-user.ts";
import { layOutRoutes } from "./route-maps.ts";
import { countOf, parseStatistics, type StatisticsRow } from "./server-statistics.ts";

export interface HaproxyIngressOptions extends IngressOptions {
  readonly binary: string;
  /** For this ingress alone; what an earlier one left there is removed. On the cells' file system. */
  readonly directory: string;
  /** 0 picks a free one. */
  readonly port: number;
}

// Each costs 30 KiB. With 500 warm cells two share one, two servers each.
const CELL_BACKENDS = 256;

/**
 * The ingress for production: HAProxy between clients and cells. Nothing of ours runs for a warm request.
 * All others go to a built-in ingress behind it, which knows every route and cell as well.
 */
export class HaproxyIngress implements Ingress {
  readonly #fallback: BuiltinIngress;
  readonly #supervisor: HaproxySupervisor;
  readonly #cells: CellServers;
  readonly #requests: RequestLog;
  readonly #drainMs: number;
  readonly #log: Logger;
  readonly url: string;
  #closing: Promise<void> | undefined;

  /** Resolves when it listens. Rejected with `ingress_unavailable` when HAProxy does not start. */
  static async open(options: HaproxyIngressOptions): Promise<HaproxyIngress> {
    const user = await haproxyUser();
    const { directory, log } = options;
    const fallbackSocketPath = join(directory, PATHS.fallback);
    const address = options.address ?? "127.0.0.1";
    const port = options.port === 0 ? await freePort(address) : options.port;
    const drainMs = options.drainMs ?? LIMITS.drainMs;
    const webSocketsMax = options.webSocketsMax ?? LIMITS.cellWebSocketsMax;
    const answerIdleMs = options.answerIdleMs ?? LIMITS.cellAnswerIdleMs;
    const threads = Math.max(1, Math.floor(availableParallelism() / 2));
    // A HAProxy that outlived its agent would hold the port.
    await reapStaleCells(directory, undefined);
    await writeHaproxyFiles(directory, {
      ...{ address, port, region: options.region, user, drainMs },
      cellBackends: CELL_BACKENDS,
      workerCellsMax: LIMITS.workerCellsMax,
      webSocketsMax,
      answerIdleMs,
      threads,
      // The last ones: interrupts are most often the first one's.
      cores: allowedCores().slice(-threads),
      connectionsMax: connectionsMax(),
      requestHeadMs: options.requestHeadMs ?? LIMITS.requestHeadMs,
    });
    let cells: CellServers | undefined;
    const fallback = await BuiltinIngress.open({
      fallbackSocketPath,
      region: options.region,
      activator: options.activator,
      log,
      ...(options.onServed && { onServed: options.onServed }),
      ...(options.onFailure && { onFailure: options.onFailure }),
      lostSocketOf: (name) => cells?.lostSocketPathOf(name),
      webSocketsMax,
      answerIdleMs,
      proxiedWebSockets: async (socketPath, others) =>
        (await cells?.webSocketsOf(socketPath, others)) ?? 0,
      drainMs,
      requestHeadMs: options.requestHeadMs ?? LIMITS.requestHeadMs,
    });
    const requests = await RequestLog.listen({
      socketPath: join(directory, PATHS.usage),
      groupId: user?.groupId,
      socketPathOf: (name) => cells?.socketPathOf(name),
      onServed: options.onServed ?? (() => undefined),
      log,
    });
    try {
      if (user !== undefined) await shareSocket(fallbackSocketPath, user.groupId);
      const supervisor = await HaproxySupervisor.open(options);
      const url = `http://${address.includes(":") ? `[${address}]` : address}:${port}`;
      cells = new CellServers({
        supervisor,
        directory,
        groupId: user?.groupId,
        backends: CELL_BACKENDS,
        log,
      });
      return new HaproxyIngress({ fallback, supervisor, cells, requests, drainMs, log, url });
    } catch (error) {
      await requests.close();
      await fallback.close();
      throw error;
    }
  }

  private constructor(parts: {
    readonly fallback: BuiltinIngress;
    readonly supervisor: HaproxySupervisor;
    readonly cells: CellServers;
    readonly requests: RequestLog;
    readonly drainMs: number;
    readonly log: Logger;
    readonly url: string;
  }) {
    this.#fallback = parts.fallback;
    this.#supervisor = parts.supervisor;
    this.#cells = parts.cells;
    this.#requests = parts.requests;
    this.#drainMs = parts.drainMs;
    this.#log = parts.log;
    this.url = parts.url;
  }

  /** Of HAProxy's master process, while there is one. */
  get pid(): number | undefined {
    return this.#supervisor.pid;
  }

  setRoutes(routes: ReadonlyArray<Route>, routing: Routing = {}): void {
    this.#fallback.setRoutes(routes, routing);
    const { state } = this.#supervisor;
    this.#supervisor.apply({ ...state, maps: { ...state.maps, ...layOutRoutes(routes) } });
    this.#cells.setSplits(routing.splits ?? []);
  }

  publish(target: TargetKey, socketPaths: ReadonlyArray<string>): void {
    this.#fallback.publish(target, socketPaths);
    // No route of HAProxy's leads to a preview.
    if (previewNameOf(target) === undefined) this.#cells.publish(target, socketPaths);
  }

  refuse(workers: ReadonlySet<WorkerKey>): void {
    this.#fallback.refuse(workers);
    this.#cells.refuse(workers);
  }

  settled(): Promise<void> {
    return this.#supervisor.settled();
  }

  async drain(socketPath: string): Promise<void> {
    await Promise.all([
      this.#fallback.drain(socketPath),
      this.#cells.drain(socketPath, this.#drainMs),
    ]);
  }

  async counters(): Promise<IngressCounters> {
    const [frontend, backends, fallback] = await Promise.all([
      this.#supervisor.ask("show stat world 1 -1"),
      this.#supervisor.ask("show stat -1 2 -1"),
      this.#fallback.counters(),
    ]);
    const [world] = parseStatistics(frontend ?? "");
    const rows = parseStatistics(backends ?? "");
    const failed = FAILURES.reduce((sum, column) => sum + sumOf(rows, column), 0);
    return {
      requests: countOf(world, "req_tot"),
      errors: fallback.errors + failed,
      openConnections: countOf(world, "scur"),
      inFlight: sumOf(rows.filter(isOfCells), "scur") + fallback.inFlight,
      restarts: this.#supervisor.restarts,
    };
  }

  async requestsOf(socketPath: string): Promise<RequestCounts> {
    const direct = await this.#cells.requestsOf(socketPath);
    const fallback = await this.#fallback.requestsOf(socketPath);
    return sumOfRequests([direct, fallback]);
  }

  /**
   * Puts a new process in the place of the one that serves, as after an upgrade of HAProxy: it takes over the
   * listening sockets, and the old one finishes its requests. Resolves when the new one knows everything.
   * The old one tells of no request any more, so those that are in flight now are missing from usage.
   */
  async reload(): Promise<void> {
    const answer = await this.#supervisor.ask("show stat -1 2 -1");
    const requests = sumOf(parseStatistics(answer ?? ""), "scur");
    if (requests > 0) this.#log.warn({ requests }, "these requests are missing from usage");
    await this.#supervisor.reload();
    await this.#supervisor.settled();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const endMs = performance.now() + this.#drainMs;
    await this.#finishRequests(endMs);
    await this.#supervisor.close(Math.max(0, endMs - performance.now()));
    await this.#requests.close();
    await this.#fallback.close();
  }

  /**
   * Stops accepting and waits until every request has ended and was told of: HAProxy tells of none any more
   * from the moment on that it is asked to end.
   */
  async #finishRequests(endMs: number): Promise<void> {
    await this.#supervisor.ask("shutdown frontend world");
    for (let toldByMs = Infinity; performance.now() < Math.min(endMs, toldByMs);) {
      const answer = await this.#supervisor.ask("show stat -1 2 -1");
      if (answer === undefined) return;
      const backends = parseStatistics(answer);
      const inFlight = sumOf(backends, "scur");
      const begun = sumOf(backends.filter(isOfCells), "stot");
      if (inFlight === 0 && this.#requests.count >= begun) return;
      // What is lost on the way is not waited for.
      if (inFlight === 0)
        toldByMs = Math.min(toldByMs, performance.now() + LIMITS.requestLogFlushMs);
      this.#requests.hurry();
      await wait(POLL_MS);
    }
  }
}

const POLL_MS = 10;

/** What a backend failed: refused WebSockets and answers, lost answers and connections. */
const FAILURES = ["dreq", "dresp", "eresp", "econ"];

function isOfCells({ pxname = "" }: StatisticsRow): boolean {
  return isCellBackend(pxname);
}

function sumOf(rows: ReadonlyArray<StatisticsRow>, column: string): number {
  return rows.reduce((sum, row) => sum + countOf(row, column), 0);
}

async function freePort(address: string): Promise<number> {
  const server = createServer();
  server.listen(0, address);
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** A client's connection is one descriptor, and its request in flight another; most clients only wait. */
function connectionsMax(): number {
  return Math.min(LIMITS.clientConnectionsMax, Math.floor(openFilesMax() * 0.75));
}
