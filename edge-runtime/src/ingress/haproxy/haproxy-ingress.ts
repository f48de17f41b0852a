import { chmod, chown, readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { Region, WorkerKey } from "@atoll/control-plane/contract";
import type { Logger } from "pino";
import { reapStaleCells } from "../../cells/stale-cells.ts";
import { LIMITS } from "../../limits.ts";
import { BuiltinIngress } from "../builtin/builtin-ingress.ts";
import type { Activator, Ingress, IngressCounters, RequestCounts, Route } from "../ingress.ts";
import { CellServers } from "./cell-servers.ts";
import { writeHaproxyFiles } from "./haproxy-files.ts";
import { PATHS } from "./haproxy-paths.ts";
import { HaproxySupervisor } from "./haproxy-supervisor.ts";
import { type HaproxyUser, haproxyUser } from "./haproxy-user.ts";
import { layOutRoutes } from "./route-maps.ts";
import { countOf, parseStatistics } from "./server-statistics.ts";

export interface HaproxyIngressOptions {
  readonly binary: string;
  /** For this ingress alone; what an earlier one left there is removed. On the cells' file system. */
  readonly directory: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** Address to listen on; the machine itself by default. */
  readonly address?: string;
  readonly region: Region;
  readonly activator: Activator;
  readonly log: Logger;
  /** Shorter waits than those of `LIMITS`. */
  readonly drainMs?: number;
  readonly requestHeadMs?: number;
}

// Each costs 30 KiB. With 500 warm cells two share one, three servers each.
const CELL_BACKENDS = 256;

/**
 * The ingress for production: HAProxy between clients and cells. Nothing of ours runs for a warm request.
 * All others go to a built-in ingress behind it, which knows every route and cell as well.
 */
export class HaproxyIngress implements Ingress {
  readonly #fallback: BuiltinIngress;
  readonly #supervisor: HaproxySupervisor;
  readonly #cells: CellServers;
  readonly #drainMs: number;
  readonly url: string;

  /** Resolves when it listens. Rejected with `ingress_unavailable` when HAProxy does not start. */
  static async open(options: HaproxyIngressOptions): Promise<HaproxyIngress> {
    const user = await haproxyUser();
    const { directory } = options;
    const fallbackSocketPath = join(directory, PATHS.fallback);
    const address = options.address ?? "127.0.0.1";
    const port = options.port === 0 ? await freePort(address) : options.port;
    const drainMs = options.drainMs ?? LIMITS.drainMs;
    // A HAProxy that outlived its agent would hold the port.
    await reapStaleCells(directory, undefined);
    await writeHaproxyFiles(directory, {
      ...{ address, port, region: options.region, user, drainMs },
      cellBackends: CELL_BACKENDS,
      workerCellsMax: LIMITS.workerCellsMax,
      threads: Math.max(1, Math.floor(availableParallelism() / 2)),
      connectionsMax: await connectionsMax(),
      requestHeadMs: options.requestHeadMs ?? LIMITS.requestHeadMs,
    });
    let cells: CellServers | undefined;
    const fallback = await BuiltinIngress.open({
      fallbackSocketPath,
      region: options.region,
      activator: options.activator,
      log: options.log,
      lostSocketOf: (name) => cells?.socketPathOf(name),
      drainMs,
      requestHeadMs: options.requestHeadMs ?? LIMITS.requestHeadMs,
    });
    try {
      if (user !== undefined) await share(fallbackSocketPath, user);
      const supervisor = await HaproxySupervisor.open(options);
      const url = `http://${address.includes(":") ? `[${address}]` : address}:${port}`;
      cells = new CellServers({
        supervisor,
        directory,
        groupId: user?.groupId,
        backends: CELL_BACKENDS,
        log: options.log,
      });
      return new HaproxyIngress({ fallback, supervisor, cells, drainMs, url });
    } catch (error) {
      await fallback.close();
      throw error;
    }
  }

  private constructor(parts: {
    readonly fallback: BuiltinIngress;
    readonly supervisor: HaproxySupervisor;
    readonly cells: CellServers;
    readonly drainMs: number;
    readonly url: string;
  }) {
    this.#fallback = parts.fallback;
    this.#supervisor = parts.supervisor;
    this.#cells = parts.cells;
    this.#drainMs = parts.drainMs;
    this.url = parts.url;
  }

  /** Of HAProxy's master process, while there is one. */
  get pid(): number | undefined {
    return this.#supervisor.pid;
  }

  setRoutes(routes: ReadonlyArray<Route>): void {
    this.#fallback.setRoutes(routes);
    const { state } = this.#supervisor;
    this.#supervisor.apply({ ...state, maps: { ...state.maps, ...layOutRoutes(routes) } });
  }

  publish(worker: WorkerKey, socketPaths: ReadonlyArray<string>): void {
    this.#fallback.publish(worker, socketPaths);
    this.#cells.publish(worker, socketPaths);
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
    const failed = parseStatistics(backends ?? "").reduce(
      (sum, row) => sum + countOf(row, "dresp") + countOf(row, "eresp") + countOf(row, "econ"),
      0,
    );
    return {
      requests: countOf(world, "req_tot"),
      errors: fallback.errors + failed,
      openConnections: countOf(world, "scur"),
    };
  }

  async requestsOf(socketPath: string): Promise<RequestCounts> {
    const direct = await this.#cells.requestsOf(socketPath);
    const fallback = await this.#fallback.requestsOf(socketPath);
    return {
      begun: direct.begun + fallback.begun,
      inFlight: direct.inFlight + fallback.inFlight,
    };
  }

  /**
   * Puts a new process in the place of the one that serves, as after an upgrade of HAProxy: it takes over the
   * listening sockets, and the old one finishes its requests. Resolves when the new one knows everything.
   */
  async reload(): Promise<void> {
    await this.#supervisor.reload();
    await this.#supervisor.settled();
  }

  async close(): Promise<void> {
    await this.#supervisor.close(this.#drainMs);
    await this.#fallback.close();
  }
}

async function share(socketPath: string, { groupId }: HaproxyUser): Promise<void> {
  await chown(socketPath, process.getuid?.() ?? 0, groupId);
  await chmod(socketPath, 0o660);
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

/** A client's connection is one descriptor, and its request in flight another. */
async function connectionsMax(): Promise<number> {
  const limits = await readFile("/proc/self/limits", "utf8");
  const descriptors = Number(/^Max open files +\d+ +(\d+)/m.exec(limits)?.[1] ?? 1024);
  return Math.min(LIMITS.clientConnectionsMax, Math.floor(descriptors * 0.75));
}
