import { setTimeout } from "node:timers/promises";
import {
  modulesOf,
  type CellEndReason,
  type CellStopReason,
  type WorkerKey,
} from "@atoll/control-plane/contract";
import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import type { ConfigCompiler } from "../config/compile-config.ts";
import { HEALTH_SOCKET } from "../config/cell-interface.ts";
import type { GroupConfig } from "../config/group-config.ts";
import { type Ingress, type RequestCounts, sumOfRequests } from "../ingress/ingress.ts";
import { CellActivity } from "./cell-activity.ts";
import { CellEventRuns } from "./cell-event-runs.ts";
import { type CellListener, type CellMember, membersOf } from "./cell-events.ts";
import { LIMITS } from "../limits.ts";
import { type Cell, type CellExit, type CellHost, wasKilled } from "./cell-host.ts";
import { limitsOf, subrequestsOf } from "./cell-limits.ts";
import type { CellMeter, MeteredMember } from "./cell-meter.ts";
import { connectOnce, probeCell } from "./cell-probe.ts";
import type { CellServices, OpenCellServices } from "./cell-services.ts";
import { type PreparedWorker, withOthers } from "./prepared-worker.ts";
import { isEnding } from "./process-table.ts";
import { CellStartError, CellStartTimeout } from "./workerd-process.ts";

/** What starting a cell takes. */
export interface CellSources {
  readonly host: CellHost;
  readonly compiler: ConfigCompiler;
  readonly services: CellServices;
  /** Tells how many requests a socket got. */
  readonly ingress: Pick<Ingress, "requestsOf">;
  readonly clock: Clock;
  /** Counts what cells use; absent where nobody asks. */
  readonly meter?: CellMeter;
  /** Hears of each start and end. */
  readonly listener: CellListener;
  readonly log: Logger;
}

/** A cell that listens, with the sockets of the node that were opened for it. */
export class WarmCell {
  readonly #cell: Cell;
  readonly #config: GroupConfig;
  readonly #ingress: Pick<Ingress, "requestsOf">;
  readonly startedAtMs: number;
  readonly activity: CellActivity;
  /** Why the node wants it to end. */
  #stopReason: CellStopReason | undefined;
  /** Resolves when the process is gone and its sockets were given back. Never rejects. */
  readonly ended: Promise<CellExit>;
  readonly #events = new CellEventRuns();
  /** The process is gone, and its pid may be another's. */
  #hasEnded = false;

  private constructor(
    cell: Cell,
    config: GroupConfig,
    owner: Pick<CellSources, "ingress" | "clock" | "listener"> & {
      readonly members: ReadonlyArray<CellMember>;
      readonly closeServices: () => Promise<void>;
    },
  ) {
    const { ingress, clock, listener, members, closeServices } = owner;
    this.#cell = cell;
    this.#config = config;
    this.#ingress = ingress;
    this.startedAtMs = clock.monotonicMs();
    this.activity = new CellActivity(cell.sample, this.startedAtMs);
    this.ended = cell.exited.then(async (exit) => {
      this.#hasEnded = true;
      const reason = this.#reasonOf(exit);
      listener.cellEnded({ atMs: clock.nowMs(), members, reason, pid: cell.pid, exit });
      await closeServices();
      return exit;
    });
  }

  /**
   * Starts a cell for a group. Rejected with `config_invalid`, `cell_failed` or `cell_start_timeout`; then
   * nothing is left of it.
   */
  static async start(
    group: { readonly workers: ReadonlyArray<PreparedWorker>; readonly config: GroupConfig },
    sources: CellSources,
  ): Promise<WarmCell> {
    const { workers, config } = group;
    const [first] = workers;
    if (first === undefined) throw new TypeError("a cell without workers");
    const binary = await sources.compiler.compile(config, readBlobOf(workers));
    // Nothing reaches the cell, and it reaches nothing, before it listens.
    let warm: WarmCell | undefined;
    const services = await sources.services.open({
      workers: workers.map((worker) => worker.key),
      subrequests: {
        perRequest: subrequestsOf(workers),
        requests: async () => warm?.requests() ?? { begun: 0, inFlight: 0 },
      },
      isWatched: workers.some(({ tailCapability }) => tailCapability !== undefined),
    });
    const closeServices = (): Promise<void> => close(services, sources.log);
    const members = membersOf(workers);
    try {
      const cell = await sources.host.start({
        account: first.account,
        config: binary,
        sockets: [...socketNames(config), HEALTH_SOCKET],
        sites: config.sites,
        services: services.sockets,
        limits: limitsOf(workers),
      });
      const started = new WarmCell(cell, config, { ...sources, members, closeServices });
      warm = started;
      sources.listener.cellStarted({ pid: cell.pid, members, startMs: cell.startMs });
      sources.meter?.follow({
        members: workers.map((worker) => ({
          ...memberOf(worker),
          socketPath: started.socketPath(worker.key),
        })),
        usage: () => cell.usage(),
        subrequests: () => services.subrequestUsage(),
        ended: started.ended,
      });
      return started;
    } catch (error) {
      await closeServices();
      if (error instanceof CellStartError || error instanceof CellStartTimeout) {
        const { exit } = error;
        const reason = exit.breach ?? (wasKilled(exit) ? "killed" : "startFailed");
        sources.listener.cellEnded({ atMs: sources.clock.nowMs(), members, reason, exit });
        sources.meter?.follow({
          members: workers.map(memberOf),
          usage: () => exit.usage,
          subrequests: () => services.subrequestUsage(),
          ended: Promise.resolve(),
        });
      }
      throw error;
    }
  }

  get id(): string {
    return this.#cell.id;
  }

  get pid(): number {
    return this.#cell.pid;
  }

  get startMs(): number {
    return this.#cell.startMs;
  }

  /** Where a worker of the group listens. */
  socketPath(worker: WorkerKey): string {
    const name = this.#config.workerSockets.get(worker);
    if (name === undefined) throw new TypeError(`${worker} is not in this cell`);
    return this.#cell.socketPath(name);
  }

  /** Where a worker's `scheduled()` is called; `undefined` when it has none that schedules call. */
  triggerPath(worker: WorkerKey): string | undefined {
    const name = this.#config.triggerSockets.get(worker);
    return name === undefined ? undefined : this.#cell.socketPath(name);
  }

  get socketPaths(): ReadonlyArray<string> {
    return [...this.#config.workerSockets.values()].map((name) => this.#cell.socketPath(name));
  }

  /** What all its workers got together, scheduled events included. */
  async requests(): Promise<RequestCounts> {
    const all = this.socketPaths.map((path) => this.#ingress.requestsOf(path));
    return sumOfRequests([...(await Promise.all(all)), this.#events.counts]);
  }

  /** Calls of `scheduled()`, which no ingress knows of. */
  get events(): CellEventRuns {
    return this.#events;
  }

  /** Memory that is its own, as of the latest sample. */
  get memoryBytes(): number {
    return this.#cell.sample.memoryBytes;
  }

  /** CPU time that it used since it has its config, as of the latest sample. */
  get cpuMs(): number {
    return this.#cell.usage().cpuNs / 1e6;
  }

  /** Whether the process is gone, or on its way out: it may break off requests before its end is known. */
  get isEnding(): boolean {
    return this.#hasEnded || isEnding(this.pid);
  }

  /** Its end, `undefined` when that is not known after `LIMITS.cellEndMs`. */
  endSoon(): Promise<CellExit | undefined> {
    return Promise.race([this.ended, setTimeout(LIMITS.cellEndMs, undefined, { ref: false })]);
  }

  /** Whether a worker's socket accepts connections that are read: that stops before its end is known. */
  async accepts(worker: WorkerKey): Promise<boolean> {
    if (this.isEnding) return false;
    try {
      await connectOnce(this.socketPath(worker));
      return true;
    } catch {
      // Whatever the reason, a request would meet it too.
      return false;
    }
  }

  probe(): Promise<void> {
    return probeCell(this.#cell, socketNames(this.#config));
  }

  /** Ends the cell; the same as `ended`. */
  async stop(reason: CellStopReason): Promise<CellExit> {
    this.#stopReason ??= reason;
    await this.#cell.stop();
    return this.ended;
  }

  /** Whatever the node wanted of it, a limit that it exceeded is why it ended. */
  #reasonOf(exit: CellExit): CellEndReason {
    return exit.breach ?? this.#stopReason ?? (wasKilled(exit) ? "killed" : "crashed");
  }
}

function socketNames({ workerSockets, triggerSockets }: GroupConfig): ReadonlyArray<string> {
  return [...workerSockets.values(), ...triggerSockets.values()];
}

function memberOf({ key, version }: PreparedWorker): MeteredMember {
  return { worker: key, version: version.id, isStatic: version.code.kind === "none" };
}

async function close(services: OpenCellServices, log: Logger): Promise<void> {
  try {
    await services.close();
  } catch (error) {
    // The cell is gone all the same, and who waits for its end must hear of it.
    log.error({ err: error }, "could not close the services of a cell");
  }
}

/** Reads a blob of whichever worker has it: the content of a hash is the same everywhere. */
export function readBlobOf(
  workers: ReadonlyArray<PreparedWorker>,
): (hash: string) => Promise<Uint8Array> {
  const owners = new Map<string, PreparedWorker>();
  for (const worker of withOthers(workers)) {
    for (const module of modulesOf(worker.version.code)) owners.set(module.blob, worker);
  }
  return async (hash) => {
    const owner = owners.get(hash);
    if (owner === undefined) throw new TypeError(`no worker of the group names blob ${hash}`);
    return owner.readBlob(hash);
  };
}
