import { createHash } from "node:crypto";
import type { Clock } from "@atoll/kv-store";
import type { GroupConfig } from "../config/group-config.ts";
import { EdgeError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { CellExit } from "./cell-host.ts";
import { BREACH_CODES, limitsOf, type LimitBreach } from "./cell-limits.ts";
import type { PreparedWorker } from "./prepared-worker.ts";
import { mainThreadNs } from "./process-table.ts";
import { RestartBackoff } from "./restart-backoff.ts";
import { CellStartError } from "./workerd-process.ts";
import { readBlobOf, WarmCell, type CellSources } from "./warm-cell.ts";

/** What a group tells its supervisor, which alone knows whether the group is the one that serves. */
export interface GroupEvents {
  /** The group's cell changed: started, ended by itself, or fell asleep. */
  cellChanged(group: CellGroup): void;
  /** A cell is out of use: whoever hears this drains it, then stops it. */
  retired(group: CellGroup, cell: WarmCell): void;
  /** The group's cell was ended for a limit; `cellChanged` follows. */
  limitExceeded(group: CellGroup, breach: LimitBreach): void;
}

export interface CellGroupOptions extends CellSources {
  readonly workers: ReadonlyArray<PreparedWorker>;
  readonly config: GroupConfig;
  readonly events: GroupEvents;
  readonly clock: Clock;
}

type GroupState =
  | { readonly kind: "cold" }
  | { readonly kind: "starting"; readonly started: Promise<WarmCell> }
  | { readonly kind: "warm"; readonly cell: WarmCell }
  | { readonly kind: "retired" };

/**
 * The workers that share a cell, and that cell's life: cold, starting, warm, cold again. A group never
 * changes what it runs: a new version is a new group, started beside this one, which then retires.
 */
export class CellGroup {
  /** Equal for groups that would run exactly the same. */
  readonly identity: string;
  readonly workers: ReadonlyArray<PreparedWorker>;
  readonly config: GroupConfig;
  readonly #options: CellGroupOptions;
  readonly #backoff = new RestartBackoff();
  #state: GroupState = { kind: "cold" };
  /** The latest start, which may outlast the group's retirement. */
  #started: Promise<unknown> = Promise.resolve();
  /** Calls of `activate` that have no answer yet. */
  #waiting = 0;
  /** A restart that waits for its time. */
  #restart: NodeJS.Timeout | undefined;
  /** The limit for which its latest cell was ended. */
  #breach: LimitBreach | undefined;
  /** When the cell was last seen to have worked, by its CPU clock as it was then. */
  #active = { atMs: 0, cpuNs: 0 };

  constructor(options: CellGroupOptions) {
    this.#options = options;
    this.workers = options.workers;
    this.config = options.config;
    this.identity = identityOf(options.workers, options.config);
  }

  /** The cell that listens now. */
  get cell(): WarmCell | undefined {
    return this.#state.kind === "warm" ? this.#state.cell : undefined;
  }

  /** Whether somebody used it lately, so that what replaces it must be warm from the beginning. */
  get isInUse(): boolean {
    return (
      this.#state.kind === "warm" || this.#state.kind === "starting" || this.#restart !== undefined
    );
  }

  /** Compiles the config ahead of need, so that a cold start is nothing but a zygote. */
  async compile(): Promise<void> {
    await this.#options.compiler.compile(this.config, readBlobOf(this.workers));
  }

  /**
   * Makes the group warm; calls at the same time share one start. Rejected with `queue_full`,
   * `cell_backoff`, `cpu_exceeded`, `memory_exceeded`, `cell_failed`, `cell_start_timeout`, or `closed` once it retired.
   */
  async activate(): Promise<WarmCell> {
    if (this.#waiting >= LIMITS.activationQueueMax) {
      throw new EdgeError(
        "queue_full",
        `${this.#waiting} requests wait for ${this.#names}, the limit is ${LIMITS.activationQueueMax}`,
      );
    }
    this.#waiting += 1;
    try {
      return await this.#warm();
    } finally {
      this.#waiting -= 1;
    }
  }

  /** Puts the cell to sleep when nothing called it for `LIMITS.idleMs`. */
  checkIdle(): void {
    const cell = this.cell;
    if (cell === undefined) return;
    const cpuNs = mainThreadNs(cell.pid);
    if (cpuNs === undefined) return;
    const nowMs = this.#options.clock.nowMs();
    if (cpuNs !== this.#active.cpuNs) {
      this.#active = { atMs: nowMs, cpuNs };
      return;
    }
    if (nowMs - this.#active.atMs < LIMITS.idleMs) return;
    this.#options.log.info({ workers: this.#names }, "a cell was idle and is stopped");
    this.sleep();
  }

  /** Makes the group cold; the next activation starts it again. */
  sleep(): void {
    const { cell } = this;
    if (cell === undefined) return;
    this.#state = { kind: "cold" };
    this.#options.events.cellChanged(this);
    this.#options.events.retired(this, cell);
  }

  /** Ends the group for ever. Its cell, also one that is still starting, is handed to `retired`. */
  retire(): void {
    const state = this.#state;
    clearTimeout(this.#restart);
    this.#restart = undefined;
    this.#state = { kind: "retired" };
    if (state.kind === "warm") this.#options.events.retired(this, state.cell);
  }

  /** Resolves when no start is under way. */
  async settled(): Promise<void> {
    // A start that failed was reported to whoever asked for it.
    await this.#started.catch(() => undefined);
  }

  async #warm(): Promise<WarmCell> {
    if (this.#state.kind === "warm") return this.#state.cell;
    if (this.#state.kind === "starting") return this.#state.started;
    if (this.#state.kind === "retired") throw this.#retiredError();
    const started = this.#start();
    this.#started = started;
    this.#state = { kind: "starting", started };
    return started;
  }

  async #start(): Promise<WarmCell> {
    clearTimeout(this.#restart);
    this.#restart = undefined;
    try {
      await this.#waitForBackoff();
      return await this.#startCell();
    } catch (error) {
      if (this.#state.kind === "starting") this.#state = { kind: "cold" };
      throw error;
    }
  }

  async #startCell(): Promise<WarmCell> {
    try {
      const cell = await WarmCell.start(this, this.#options);
      this.#settleStarted(cell);
      return cell;
    } catch (error) {
      if (error instanceof EdgeError) this.#backoff.noteDeath(this.#options.clock.nowMs(), 0);
      if (error instanceof CellStartError) this.#breach = error.exit.breach;
      throw error;
    }
  }

  /** Waits when the wait is short; a client would rather have a 503 at once than hang for a minute. */
  async #waitForBackoff(): Promise<void> {
    const waitMs = this.#backoff.waitMs(this.#options.clock.nowMs());
    if (waitMs > LIMITS.backoffHoldMs) {
      const { deaths } = this.#backoff;
      // The reason is what its owner has to know, so it is also that of the refusal.
      throw new EdgeError(
        this.#breach === undefined ? "cell_backoff" : BREACH_CODES[this.#breach],
        `${this.#names} ended ${deaths} times and rests for ${waitMs} ms more`,
      );
    }
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
  }

  #settleStarted(cell: WarmCell): void {
    if (this.#state.kind === "retired") {
      this.#options.events.retired(this, cell);
      throw this.#retiredError();
    }
    this.#state = { kind: "warm", cell };
    this.#active = { atMs: this.#options.clock.nowMs(), cpuNs: 0 };
    const startedMs = this.#options.clock.nowMs();
    void cell.ended.then((exit) => this.#takeExit({ cell, exit, startedMs }));
    this.#options.log.info(
      { workers: this.#names, pid: cell.pid, ms: cell.startMs },
      "a cell started",
    );
    this.#options.events.cellChanged(this);
  }

  #takeExit(end: { cell: WarmCell; exit: CellExit; startedMs: number }): void {
    // A cell that was stopped on purpose left the state before: this end is nobody's surprise.
    if (this.cell !== end.cell) return;
    const nowMs = this.#options.clock.nowMs();
    this.#state = { kind: "cold" };
    this.#backoff.noteDeath(nowMs, nowMs - end.startedMs);
    this.#breach = end.exit.breach;
    const { deaths } = this.#backoff;
    const { breach } = end.exit;
    this.#options.log.error(
      { workers: this.#names, deaths, ...(breach && { reason: breach }), ...end.exit },
      breach === undefined ? "a cell ended by itself" : "a cell exceeded a limit and was ended",
    );
    if (breach !== undefined) this.#options.events.limitExceeded(this, breach);
    this.#options.events.cellChanged(this);
    this.#restartLater();
  }

  /** Starts again in the background while the last use is recent; else the next request does it. */
  #restartLater(): void {
    const nowMs = this.#options.clock.nowMs();
    if (nowMs - this.#active.atMs > LIMITS.warmRestartMs) return;
    const attempt = (): void => {
      this.#restart = undefined;
      this.#warm().catch((error: unknown) => {
        this.#options.log.error({ workers: this.#names, err: error }, "a cell did not restart");
        if (this.#state.kind === "cold" && this.#restart === undefined) this.#restartLater();
      });
    };
    this.#restart = setTimeout(attempt, this.#backoff.waitMs(nowMs)).unref();
  }

  #retiredError(): EdgeError {
    return new EdgeError("closed", `${this.#names} was replaced or removed`);
  }

  get #names(): string {
    return this.workers.map((worker) => worker.key).join(", ");
  }
}

function identityOf(workers: ReadonlyArray<PreparedWorker>, config: GroupConfig): string {
  // Sites are not in the config's text, and a redeploy of the same code is a restart that was asked for.
  const versions = workers.map((worker) => `${worker.key}@${worker.version.id}`).toSorted();
  const limits = limitsOf(workers);
  return createHash("sha256")
    .update(JSON.stringify([config.hash, config.sites, versions, limits]))
    .digest("hex");
}
