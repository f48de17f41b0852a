import { randomBytes } from "node:crypto";
import { createRequire } from "node:module";
import { join } from "node:path";
import { systemClock, type Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import { EdgeError } from "../errors.ts";
import { LAUNCHER } from "../launcher/launcher.ts";
import { LIMITS } from "../limits.ts";
import type { Cell, CellHost, CellSpec } from "./cell-host.ts";
import { canCellsReach, letCellsPass } from "../sandbox/cell-user.ts";
import { openConfinement, type Confinement } from "../sandbox/confinement.ts";
import { CellSampler } from "./cell-sampler.ts";
import { CellWatchdog } from "./cell-watchdog.ts";
import { isEnding } from "./process-table.ts";
import { SiteTrees } from "./site-trees.ts";
import { reapStaleCells } from "./stale-cells.ts";
import { WorkerdProcess, type CellLine } from "./workerd-process.ts";
import { noteStart, NO_STARTS, zygotesWanted, type StartRate } from "./zygote-pool-size.ts";

export interface WorkerdHostOptions {
  /**
   * Where cells have their directories; only this host writes there. A unix socket's path has at most
   * 107 bytes, so this one has at most `LIMITS.runDirectoryBytesMax`.
   */
  readonly runDirectory: string;
  /** How many processes wait, started, for a config, at least. 0 starts each one when it is needed. */
  readonly zygoteCount: number;
  /** How many may wait when starts come in bursts; by default never more than at least. */
  readonly zygoteCountMax?: number;
  readonly log: Logger;
  /** What cells write, line by line. */
  readonly onLine?: (line: CellLine) => void;
  /** By default the installed workerd. */
  readonly workerdPath?: string;
  /** By default all that this machine can give. Its control groups are the host's from now on. */
  readonly confinement?: Confinement;
  readonly clock?: Clock;
  /** How long a cell may take until it listens; by default `LIMITS.cellStartMs`. */
  readonly startMsMax?: number;
  /** CPU time that a cell may take until it listens; by default as much as the time allows. */
  readonly startCpuMsMax?: number;
}

/** Path of the workerd binary itself: the package's `bin` is a script that costs a Node start. */
export function installedWorkerdPath(): string {
  const { default: binary } = workerdPackage();
  if (typeof binary !== "string") throw new TypeError("the workerd package names no binary");
  return binary;
}

/** The compatibility date of the installed workerd. */
export function newestCompatibilityDate(): string {
  const { compatibilityDate: date } = workerdPackage();
  if (typeof date !== "string") throw new TypeError("the workerd package names no date");
  return date;
}

function workerdPackage(): Readonly<Record<string, unknown>> {
  // A module is an object; what is in it is looked at above.
  return createRequire(import.meta.url)("workerd") as Readonly<Record<string, unknown>>;
}

/** Cells as processes of this machine, made from a pool of zygotes. */
export class WorkerdHost implements CellHost {
  readonly #options: Required<WorkerdHostOptions>;
  readonly #sites: SiteTrees;
  readonly #sampler: CellSampler;
  readonly #watchdog: CellWatchdog;
  /** Every process that was started and is not gone. */
  readonly #processes = new Set<WorkerdProcess>();
  /** Those of them that wait for a config, oldest first. Also in `#processes`. */
  readonly #zygotes: WorkerdProcess[] = [];
  /** Additions to the pool that are under way. */
  readonly #additions = new Set<Promise<void>>();
  #starts: StartRate = NO_STARTS;
  readonly #stopTrimming: () => void;
  readonly #stopListening: () => void;
  #refill: NodeJS.Timeout | undefined;
  #isDisposed = false;

  private constructor(options: Required<WorkerdHostOptions>) {
    this.#options = options;
    const { clock, confinement, log } = options;
    const directory = join(options.runDirectory, "site-trees");
    this.#sites = new SiteTrees({ directory, clock, log });
    this.#sampler = new CellSampler({ clock, totalNs: () => confinement.groups?.cpuNs() });
    this.#watchdog = new CellWatchdog({ clock, sampler: this.#sampler });
    this.#stopTrimming = options.clock.every(LIMITS.zygoteTrimMs, () => this.#trimPool());
    // Each of them tells of its own end; this is why.
    this.#stopListening = LAUNCHER.onEnd((processes) =>
      options.log.error({ processes }, "the process that starts others ended, and these with it"),
    );
  }

  /** Ends what an earlier run left in the run directory, then fills the pool. */
  static async open(options: WorkerdHostOptions): Promise<WorkerdHost> {
    const bytes = Buffer.byteLength(options.runDirectory);
    if (bytes > LIMITS.runDirectoryBytesMax) {
      throw new EdgeError(
        "run_directory_too_long",
        `${options.runDirectory} has ${bytes} bytes, more than ${LIMITS.runDirectoryBytesMax}: ` +
          "paths of unix sockets in it would not fit; choose a shorter one",
      );
    }
    const workerdPath = options.workerdPath ?? installedWorkerdPath();
    const confinement =
      options.confinement ??
      (await openConfinement({ workerdPath, owner: options.runDirectory, log: options.log }));
    const { sandbox, groups } = confinement;
    const reaped = await reapStaleCells(options.runDirectory, sandbox.user);
    if (reaped > 0) options.log.warn({ cells: reaped }, "ended cells that an earlier agent left");
    await groups?.clear();
    await letCellsPass(options.runDirectory, sandbox);
    if (!(await canCellsReach(options.runDirectory, sandbox))) {
      throw new EdgeError(
        "run_directory_unreachable",
        `${options.runDirectory} lies below a directory that the user of cells can't pass through; ` +
          "choose another one, or allow others to search those above it",
      );
    }
    const host = new WorkerdHost({
      onLine: () => undefined,
      startMsMax: LIMITS.cellStartMs,
      startCpuMsMax: Infinity,
      clock: systemClock,
      zygoteCountMax: options.zygoteCount,
      ...options,
      workerdPath,
      confinement,
    });
    host.#fillPool();
    return host;
  }

  /** Processes that wait for a config. */
  get zygotes(): number {
    return this.#zygotes.length;
  }

  /** Processes that are alive, waiting ones included. */
  get processCount(): number {
    return this.#processes.size;
  }

  async start(spec: CellSpec): Promise<Cell> {
    const begunMs = performance.now();
    if (this.#isDisposed) throw new EdgeError("closed", "the cell host was shut down");
    this.#starts = noteStart(this.#starts, this.#options.clock.monotonicMs());
    const cell = this.#takeZygote() ?? (await this.#spawn());
    if (this.#isDisposed) {
      await cell.kill();
      throw new EdgeError("closed", "the cell host was shut down");
    }
    try {
      await cell.serve(spec, begunMs);
      return cell;
    } catch (error) {
      await cell.kill();
      throw error;
    } finally {
      this.#fillPoolLater(LIMITS.zygoteRefillMs);
    }
  }

  sample(): void {
    this.#sampler.sample();
  }

  keepReady(sites: Iterable<string>): void {
    this.#sites.keepReady(sites);
  }

  async dispose(): Promise<void> {
    this.#isDisposed = true;
    clearTimeout(this.#refill);
    this.#stopTrimming();
    this.#stopListening();
    await Promise.all(this.#additions);
    for (const zygote of this.#zygotes.splice(0)) void zygote.kill();
    await Promise.all([...this.#processes].map((process) => process.stop()));
    await this.#sites.close();
    await this.#options.confinement.groups?.close();
  }

  get #zygotesWanted(): number {
    const { clock, zygoteCount: min, zygoteCountMax: max } = this.#options;
    return zygotesWanted(this.#starts, clock.monotonicMs(), { min, max });
  }

  /** The oldest that lives. What ended one, such as the launcher's end, may have ended all, and be known of none yet. */
  #takeZygote(): WorkerdProcess | undefined {
    for (let zygote = this.#zygotes.shift(); zygote; zygote = this.#zygotes.shift()) {
      if (!isEnding(zygote.pid)) return zygote;
      this.#noteLoss(zygote);
    }
    return undefined;
  }

  #fillPool(): void {
    if (this.#isDisposed) return;
    const missing = this.#zygotesWanted - this.#zygotes.length - this.#additions.size;
    // A few at a time: a burst that has emptied the pool needs the machine for its own cells.
    const room = LIMITS.zygoteAdditionsMax - this.#additions.size;
    for (let count = 0; count < Math.min(missing, room); count += 1) {
      const addition = this.#addZygote().finally(() => this.#additions.delete(addition));
      this.#additions.add(addition);
    }
  }

  /** Ends what waits for a burst that did not come, the oldest last: those are used first. */
  #trimPool(): void {
    for (const zygote of this.#zygotes.splice(this.#zygotesWanted)) void zygote.kill();
  }

  async #addZygote(): Promise<void> {
    try {
      const zygote = await this.#spawn();
      this.#zygotes.push(zygote);
      void zygote.exited.then(() => this.#replace(zygote));
      // Once this one is no addition any more, there may be room for the next.
      setImmediate(() => this.#fillPool());
    } catch (error) {
      this.#options.log.error({ err: error }, "can't start a zygote");
      this.#fillPoolLater(LIMITS.zygoteRetryMs);
    }
  }

  /** A zygote that ended while it waited is replaced, later: what killed it may kill the next one. */
  #replace(zygote: WorkerdProcess): void {
    const index = this.#zygotes.indexOf(zygote);
    // Not in the pool any more: it became a cell, and its end is its user's concern.
    if (index === -1) return;
    this.#zygotes.splice(index, 1);
    this.#noteLoss(zygote);
    this.#fillPoolLater(LIMITS.zygoteRetryMs);
  }

  #noteLoss({ pid }: WorkerdProcess): void {
    this.#options.log.warn({ pid }, "a zygote ended while it waited");
  }

  /** In so many milliseconds, unless that is to happen already. */
  #fillPoolLater(ms: number): void {
    if (this.#isDisposed || this.#refill !== undefined) return;
    this.#refill = setTimeout(() => {
      this.#refill = undefined;
      this.#fillPool();
    }, ms).unref();
  }

  async #spawn(): Promise<WorkerdProcess> {
    const id = randomBytes(4).toString("hex");
    const spawned = await WorkerdProcess.spawn({
      ...this.#options,
      ...this.#options.confinement,
      sites: this.#sites,
      sampler: this.#sampler,
      watchdog: this.#watchdog,
      id,
    });
    this.#processes.add(spawned);
    void spawned.exited.then(() => this.#processes.delete(spawned));
    return spawned;
  }
}
