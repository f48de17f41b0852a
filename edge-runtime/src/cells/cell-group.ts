import { createHash } from "node:crypto";
import type { AccountId, CellStopReason, WorkerKey } from "@atoll/control-plane/contract";
import type { GroupConfig } from "../config/group-config.ts";
import { EdgeError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { type CellExit, wasKilled } from "./cell-host.ts";
import { BREACH_CODES, limitsOf, type LimitBreach } from "./cell-limits.ts";
import type { PreparedWorker } from "./prepared-worker.ts";
import { RestartBackoff } from "./restart-backoff.ts";
import { CellStartError } from "./workerd-process.ts";
import { readBlobOf, WarmCell, type CellSources } from "./warm-cell.ts";

/** What a group tells its supervisor, which alone knows whether the group is the one that serves. */
export interface GroupEvents {
  /** The group's cells changed: one started, ended by itself, or is out of use. */
  cellChanged(group: CellGroup): void;
  /** A cell is out of use: whoever hears this drains it, then stops it for this reason. */
  retired(group: CellGroup, cell: WarmCell, reason: CellStopReason): void;
}

export interface CellGroupOptions extends CellSources {
  readonly workers: ReadonlyArray<PreparedWorker>;
  readonly config: GroupConfig;
  readonly events: GroupEvents;
}

type Cells = readonly [WarmCell, ...WarmCell[]];

type GroupState =
  | { readonly kind: "cold" }
  | { readonly kind: "starting"; readonly started: Promise<WarmCell> }
  | { readonly kind: "warm"; readonly cells: Cells }
  | { readonly kind: "retired"; readonly reason: CellStopReason };

/**
 * The workers that share a cell, and that cell's life: cold, starting, warm, cold again. While it is warm it
 * may have further cells that run the same, each of which starts, drains and dies by itself. A group never
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
  /** How many cells it has while it is warm, unless one has just died. */
  #wanted = 1;
  /** The latest start, which may outlast the group's retirement. */
  #started: Promise<unknown> = Promise.resolve();
  /** The latest start of a further cell. */
  #added: Promise<void> = Promise.resolve();
  /** Calls of `activate` that have no answer yet. */
  #waiting = 0;
  /** A restart that waits for its time. */
  #restart: NodeJS.Timeout | undefined;
  /** The limit for which its latest cell was ended. */
  #breach: LimitBreach | undefined;
  /** The last use of cells that are gone. */
  #lastUseMs = -Infinity;

  constructor(options: CellGroupOptions) {
    this.#options = options;
    this.workers = options.workers;
    this.config = options.config;
    this.identity = identityOf(options.workers, options.config);
  }

  /** Whose workers they are. */
  get account(): AccountId {
    const [first] = this.workers;
    if (first === undefined) throw new TypeError("a group without workers");
    return first.account;
  }

  /** The cells that listen now, the oldest first. */
  get cells(): ReadonlyArray<WarmCell> {
    return this.#state.kind === "warm" ? this.#state.cells : [];
  }

  /** Whether somebody used it lately, so that what replaces it must be warm from the beginning. */
  get isInUse(): boolean {
    return (
      this.#state.kind === "warm" || this.#state.kind === "starting" || this.#restart !== undefined
    );
  }

  /** Compiles the config ahead of need, so that a cold start is nothing but a zygote. */
  async compile(): Promise<void> {
    await this.#options.compiler.prepare(this.config, readBlobOf(this.workers));
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
      const cell = await this.#warm();
      cell.activity.noteUse(this.#options.clock.monotonicMs());
      return cell;
    } finally {
      this.#waiting -= 1;
    }
  }

  /**
   * The first of its cells that takes a worker's requests; none when they were dying, and have ended by now.
   * Rejected with `cell_failed` when they do neither.
   */
  async firstAccepting(worker: WorkerKey): Promise<WarmCell | undefined> {
    const { cells } = this;
    for (const cell of cells) if (await cell.accepts(worker)) return cell;
    // The ingress knew before we did.
    const ends = await Promise.all(cells.map((cell) => cell.endSoon()));
    if (ends.some((end) => end !== undefined)) return undefined;
    throw new EdgeError("cell_failed", `the cell of ${worker} accepts no connections`);
  }

  /**
   * Makes the group warm and probes its cell; once more when somebody else killed that meanwhile, which says
   * nothing of what it runs. Rejected as `activate` is, and with `cell_failed` when the probe fails.
   */
  async warmUp(): Promise<void> {
    const cell = await this.activate();
    try {
      await cell.probe();
    } catch (error) {
      const exit = cell.isEnding ? await cell.endSoon() : undefined;
      if (exit === undefined || !wasKilled(exit)) throw error;
      await (await this.activate()).probe();
    }
  }

  /** Makes the group warm before anybody used it; rejected as `activate` is. */
  async prewarm(): Promise<void> {
    await this.#warm();
  }

  /** Starts one more cell beside those of a warm group. Resolves when it serves, or when it can't. */
  async grow(): Promise<void> {
    this.#wanted = this.cells.length + 1;
    await this.#addMissing();
  }

  /** Takes one cell out of use; without any the group is cold, and the next activation starts it again. */
  release(cell: WarmCell, reason: CellStopReason): void {
    if (!this.cells.includes(cell)) return;
    this.#leave(cell);
    this.#wanted = Math.max(1, this.cells.length);
    this.#options.events.cellChanged(this);
    this.#options.events.retired(this, cell, reason);
  }

  /** Makes the group cold until somebody asks for it. What is starting goes when it has started. */
  sleep(reason: CellStopReason): void {
    // A cell that died just now would come back by itself, also to a group that does not serve.
    clearTimeout(this.#restart);
    this.#restart = undefined;
    for (const cell of this.cells) this.release(cell, reason);
    if (this.#state.kind !== "starting") return;
    this.#state.started.then(
      (cell) => this.release(cell, reason),
      // Whoever asked for it hears of it.
      () => undefined,
    );
  }

  /** Ends the group for ever. Its cells, also one that is still starting, are handed to `retired`. */
  retire(reason: CellStopReason): void {
    const { cells } = this;
    clearTimeout(this.#restart);
    this.#restart = undefined;
    this.#state = { kind: "retired", reason };
    for (const cell of cells) this.#options.events.retired(this, cell, reason);
  }

  /** Calls of `activate` that wait for an answer. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Resolves when no start is under way. */
  async settled(): Promise<void> {
    // A start that failed was reported to whoever asked for it.
    await this.#started.catch(() => undefined);
    await this.#added;
  }

  async #warm(): Promise<WarmCell> {
    if (this.#state.kind === "warm") return this.#state.cells[0];
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
      const cell = await this.#startUndisturbed();
      this.#settleStarted(cell);
      return cell;
    } catch (error) {
      if (error instanceof EdgeError) this.#backoff.noteDeath(this.#options.clock.monotonicMs(), 0);
      if (error instanceof CellStartError) this.#breach = error.exit.breach;
      throw error;
    }
  }

  /** Once more when somebody else killed what was starting, which says nothing of what it runs. */
  async #startUndisturbed(): Promise<WarmCell> {
    try {
      return await WarmCell.start(this, this.#options);
    } catch (error) {
      if (!(error instanceof CellStartError && wasKilled(error.exit))) throw error;
      return WarmCell.start(this, this.#options);
    }
  }

  /** Waits when the wait is short; a client would rather have a 503 at once than hang for a minute. */
  async #waitForBackoff(): Promise<void> {
    const waitMs = this.#backoff.waitMs(this.#options.clock.monotonicMs());
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
      this.#options.events.retired(this, cell, this.#state.reason);
      throw this.#retiredError();
    }
    this.#wanted = 1;
    this.#take(cell, []);
  }

  /** Adds what is missing of the cells that a warm group should have, one after the other. */
  #addMissing(): Promise<void> {
    this.#added = this.#added.then(async () => {
      try {
        while (this.cells.length > 0 && this.cells.length < this.#wanted) await this.#addCell();
      } catch (error) {
        this.#options.log.error({ workers: this.#names, err: error }, "no further cell started");
        this.#wanted = Math.max(1, this.cells.length);
      }
    });
    return this.#added;
  }

  async #addCell(): Promise<void> {
    const cell = await this.#startUndisturbed();
    const { cells } = this;
    // The group was put to sleep or replaced meanwhile.
    if (cells.length === 0) this.#options.events.retired(this, cell, this.#reasonToStop);
    else this.#take(cell, cells);
  }

  /** Puts a cell that has started into use, after the others. */
  #take(cell: WarmCell, others: ReadonlyArray<WarmCell>): void {
    const [first = cell, ...further] = others;
    this.#state = { kind: "warm", cells: first === cell ? [cell] : [first, ...further, cell] };
    cell.activity.noteUse(this.#lastUseMs);
    void cell.ended.then((exit) => this.#takeExit(cell, exit));
    this.#options.events.cellChanged(this);
  }

  #leave(cell: WarmCell): void {
    this.#lastUseMs = Math.max(this.#lastUseMs, cell.activity.lastUseMs);
    const [first, ...others] = this.cells.filter((each) => each !== cell);
    this.#state =
      first === undefined ? { kind: "cold" } : { kind: "warm", cells: [first, ...others] };
  }

  #takeExit(cell: WarmCell, exit: CellExit): void {
    // A cell that was stopped on purpose left before: this end is nobody's surprise.
    if (!this.cells.includes(cell)) return;
    const nowMs = this.#options.clock.monotonicMs();
    this.#leave(cell);
    this.#backoff.noteDeath(nowMs, nowMs - cell.startedAtMs);
    this.#breach = exit.breach;
    this.#options.events.cellChanged(this);
    this.#restartLater();
  }

  /** Starts again in the background while the last use is recent; else the next request does it. */
  #restartLater(waitMsMin = 0): void {
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs - this.#lastUseMs > LIMITS.warmRestartMs) return;
    const attempt = (): void => {
      this.#restart = undefined;
      if (this.cells.length > 0) {
        void this.#addMissing();
        return;
      }
      this.#warm().catch((error: unknown) => {
        this.#options.log.error({ workers: this.#names, err: error }, "a cell did not restart");
        if (this.#state.kind !== "cold" || this.#restart !== undefined) return;
        this.#restartLater(LIMITS.restartRetryMs);
      });
    };
    clearTimeout(this.#restart);
    const waitMs = Math.max(waitMsMin, this.#backoff.waitMs(nowMs));
    this.#restart = setTimeout(attempt, waitMs).unref();
  }

  /** Why a cell is not wanted that started for a group which has none any more. */
  get #reasonToStop(): CellStopReason {
    return this.#state.kind === "retired" ? this.#state.reason : "surplus";
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
