import { availableParallelism } from "node:os";
import { setImmediate, setTimeout } from "node:timers/promises";
import type {
  CellStatus,
  LimitEvent,
  VersionId,
  WorkerFailure,
  WorkerKey,
} from "@atoll/control-plane/contract";
import { configureGroup, type KvCapability } from "../config/group-config.ts";
import { Turnstile } from "../config/turnstile.ts";
import { EdgeError } from "../errors.ts";
import type { Activation, Activator, CellLoss, Ingress } from "../ingress/ingress.ts";
import { LIMITS } from "../limits.ts";
import { CellGroup, type GroupEvents } from "./cell-group.ts";
import { wasKilled } from "./cell-host.ts";
import { BREACH_CODES, type LimitBreach } from "./cell-limits.ts";
import { CellKeeper } from "./cell-keeper.ts";
import { cellStatus } from "./cell-status.ts";
import { failuresOf, reasonOf, type Attempt } from "./group-attempt.ts";
import { defaultMemoryBudget } from "./memory-policy.ts";
import { planApart, planCells } from "./plan-cells.ts";
import type { PreparedWorker } from "./prepared-worker.ts";
import type { CellSources, WarmCell } from "./warm-cell.ts";

export interface CellSupervisorOptions extends CellSources {
  /** Where requests arrive. */
  readonly ingress: Pick<Ingress, "publish" | "drain" | "requestsOf">;
  readonly kvCapability: KvCapability;
  /** What all cells together may take; by default a part of the machine's memory. */
  readonly memoryBudgetBytes?: number;
  /** Processors that cells can run on; by default all that there are. */
  readonly cores?: number;
}

interface QueuedApply {
  readonly workers: ReadonlyArray<PreparedWorker>;
  readonly resolve: (failures: ReadonlyArray<WorkerFailure>) => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * Keeps the workers of a node running: decides which share a cell, starts cells on demand and beside
 * those that they replace, tells the ingress where each worker listens, and ends what is not needed.
 * See CELLS.md.
 */
export class CellSupervisor implements Activator {
  readonly #options: CellSupervisorOptions;
  readonly #events: GroupEvents;
  readonly #starts = new Turnstile(LIMITS.cellStartsMax);
  /** The group that serves each worker. A group lives as long as it is in here. */
  #groupOf: ReadonlyMap<WorkerKey, CellGroup> = new Map();
  /**
   * Groups that did not start in the latest apply, by identity. They rest like a cell that keeps dying,
   * so that a version which never starts does not slow down everybody else's deploys.
   */
  #failed: ReadonlyMap<string, CellGroup> = new Map();
  /** What the ingress was told last. */
  readonly #published = new Map<WorkerKey, ReadonlyArray<string>>();
  /** The cell behind each socket path that was published, until a while after its end. */
  readonly #cellAt = new Map<string, WarmCell>();
  #limitEvents: ReadonlyArray<LimitEvent> = [];
  /** Cells out of use that drain, and the end of each. */
  readonly #retiring = new Map<
    WarmCell,
    { readonly group: CellGroup; readonly end: Promise<void> }
  >();
  #queued: QueuedApply | undefined;
  #applying: Promise<void> | undefined;
  #isDisposed = false;
  readonly #keeper: CellKeeper;
  /** Whether it runs what this node is to run: before, everything is new to it. */
  #hasApplied = false;

  constructor(options: CellSupervisorOptions) {
    this.#options = options;
    this.#events = {
      cellChanged: (group) => this.#publish(group.workers.map((worker) => worker.key)),
      retired: (group, cell) => this.#drainAndStop(group, cell),
      limitExceeded: (group, breach) => this.#noteLimit(group, breach),
    };
    this.#keeper = new CellKeeper({
      memoryBudgetBytes: defaultMemoryBudget(),
      cores: availableParallelism(),
      ...options,
      groups: () => this.#groups(),
    });
  }

  /**
   * Makes exactly these workers run. Resolves once requests go to them, with the workers that could not
   * be started: each of those stays on what ran before, if anything did. A worker that was warm stays
   * warm: its new cell starts beside the old one and takes over when it answers. What did not change is
   * not touched. One call runs at a time; a call that waited while a newer one came is rejected with
   * `superseded`.
   */
  async apply(workers: ReadonlyArray<PreparedWorker>): Promise<ReadonlyArray<WorkerFailure>> {
    if (this.#isDisposed) throw closed();
    this.#queued?.reject(new EdgeError("superseded", "a newer state came before this one's turn"));
    const { promise, resolve, reject } = Promise.withResolvers<ReadonlyArray<WorkerFailure>>();
    this.#queued = { workers, resolve, reject };
    this.#applying ??= this.#applyQueued();
    return promise;
  }

  async activate(worker: WorkerKey): Promise<Activation> {
    const begunMs = performance.now();
    // More than one round only when cells are dying, or an apply replaces the group meanwhile.
    for (let round = 0; round < LIMITS.activationRoundsMax; round += 1) {
      const group = this.#groupOf.get(worker);
      if (group === undefined) throw new EdgeError("worker_unknown", `${worker} is not run here`);
      const isWarm = group.cells.length > 0 && round === 0;
      const cell = await this.#findCell(group, worker);
      if (cell === undefined) continue;
      const socketPath = cell.socketPath(worker);
      if (isWarm) return { socketPath };
      return { socketPath, coldMs: Math.max(1, Math.round(performance.now() - begunMs)) };
    }
    throw new EdgeError("cell_failed", `${worker} lost its cell, or was replaced, each time`);
  }

  /** A cell of a group that takes requests; none when it lost its cells, or was replaced, meanwhile. */
  async #findCell(group: CellGroup, worker: WorkerKey): Promise<WarmCell | undefined> {
    const isCurrent = (): boolean => this.#groupOf.get(worker) === group;
    try {
      const isWarm = group.cells.length > 0;
      const cell = isWarm ? await group.firstAccepting(worker) : await group.activate();
      // One that was put out of use is drained already, and nobody waits for what comes later.
      return isCurrent() && cell !== undefined && group.cells.includes(cell) ? cell : undefined;
    } catch (error) {
      if (isCurrent()) throw error;
      return undefined;
    }
  }

  async lossOf(socketPath: string): Promise<CellLoss | undefined> {
    const cell = this.#cellAt.get(socketPath);
    if (cell === undefined) return undefined;
    if (!cell.isEnding) return "alive";
    const exit = await cell.endSoon();
    if (exit?.breach !== undefined) return BREACH_CODES[exit.breach];
    return exit !== undefined && wasKilled(exit) ? "killed" : undefined;
  }

  /** The version of a worker that serves here. */
  versionOf(worker: WorkerKey): VersionId | undefined {
    const workers = this.#groupOf.get(worker)?.workers;
    return workers?.find(({ key }) => key === worker)?.version.id;
  }

  /** The latest cells that were ended for a limit, newest last. */
  get limitEvents(): ReadonlyArray<LimitEvent> {
    return this.#limitEvents;
  }

  /** Every cell that has a process, those that drain included. */
  status(): ReadonlyArray<CellStatus> {
    const warm = [...this.#groups()].flatMap((group) =>
      group.cells.map((cell) => cellStatus(group, cell, "warm")),
    );
    const draining = [...this.#retiring].map(([cell, { group }]) =>
      cellStatus(group, cell, "draining"),
    );
    return [...warm, ...draining];
  }

  /** The workers of a cell, for its log lines. */
  workersOf(cellId: string): ReadonlyArray<WorkerKey> {
    const groups = [...this.#groups()].filter((group) =>
      group.cells.some((cell) => cell.id === cellId),
    );
    const retiring = [...this.#retiring].filter(([cell]) => cell.id === cellId);
    const found = groups[0] ?? retiring[0]?.[1].group;
    return found?.workers.map((worker) => worker.key) ?? [];
  }

  /** Drains and stops every cell. May be called twice. The host and the ingress stay their owner's. */
  async dispose(): Promise<void> {
    this.#isDisposed = true;
    this.#queued?.reject(closed());
    this.#queued = undefined;
    await this.#applying;
    await this.#keeper.stop();
    const groups = this.#groups();
    this.#switch(new Map());
    await Promise.all([...groups].map((group) => group.settled()));
    await Promise.all([...this.#retiring.values()].map(({ end }) => end));
  }

  async #applyQueued(): Promise<void> {
    for (let next = this.#queued; next !== undefined; next = this.#queued) {
      this.#queued = undefined;
      try {
        next.resolve(await this.#apply(next.workers));
      } catch (error) {
        next.reject(error);
      }
    }
    // In the same turn as the look that found the queue empty, so that no call falls between.
    this.#applying = undefined;
  }

  async #apply(workers: ReadonlyArray<PreparedWorker>): Promise<ReadonlyArray<WorkerFailure>> {
    const known = new Map([
      ...this.#failed,
      ...[...this.#groups()].map((group) => [group.identity, group] as const),
    ]);
    const attempts = await this.#attempt(planCells(workers), known);
    if (this.#isDisposed) {
      for (const attempt of attempts) if (attempt.kind === "ready") attempt.group.retire();
      throw closed();
    }
    this.#switch(this.#assign(attempts));
    const deployed = [...this.#groups()].filter(({ identity }) => !known.has(identity));
    // What a node finds when it starts was not deployed just now, and may be hundreds.
    if (this.#hasApplied) this.#keeper.prewarm(deployed);
    this.#hasApplied = true;
    this.#failed = new Map(
      attempts.flatMap((attempt) =>
        attempt.kind === "failed" && attempt.group !== undefined
          ? [[attempt.group.identity, attempt.group]]
          : [],
      ),
    );
    const configs = [...this.#groups()].map((group) => group.config);
    this.#options.host.keepReady(configs.flatMap((config) => config.sites));
    await this.#options.compiler.retain(configs.map((config) => config.hash));
    return attempts.flatMap(failuresOf);
  }

  /**
   * Prepares groups and starts those that replace one in use. Where one fails that was put together without
   * need, its parts are tried by themselves: what is broken must not hold back what only shares its cell.
   */
  async #attempt(
    groups: ReadonlyArray<ReadonlyArray<PreparedWorker>>,
    known: ReadonlyMap<string, CellGroup>,
  ): Promise<ReadonlyArray<Attempt>> {
    const planned = await Promise.all(groups.map((group) => this.#prepare(group, known)));
    const attempts = (await this.#warmUp(planned)).map(async (attempt) => {
      const parts = attempt.kind === "failed" ? planApart(attempt.workers) : [];
      if (parts.length < 2) return [attempt];
      // The whole is kept with nobody in it, so that it rests before it is tried again.
      return [{ ...attempt, workers: [] }, ...(await this.#attempt(parts, known))];
    });
    return (await Promise.all(attempts)).flat();
  }

  /** The group as it runs already, or a new one whose config is compiled. */
  async #prepare(
    workers: ReadonlyArray<PreparedWorker>,
    known: ReadonlyMap<string, CellGroup>,
  ): Promise<Attempt> {
    try {
      const config = configureGroup(workers, this.#options.kvCapability);
      const group = new CellGroup({ ...this.#options, workers, config, events: this.#events });
      const same = known.get(group.identity);
      if (same !== undefined) return { kind: "ready", group: same };
      await group.compile();
      return { kind: "ready", group };
    } catch (error) {
      return { kind: "failed", workers, reason: reasonOf(error), group: undefined };
    }
  }

  /**
   * Starts every group that replaces one in use. A worker may come into use meanwhile, so it looks again
   * until there is nothing to start; the rounds are bounded, and the cost of a miss is one cold request.
   */
  async #warmUp(planned: ReadonlyArray<Attempt>): Promise<ReadonlyArray<Attempt>> {
    let attempts = planned;
    for (let round = 0; round < LIMITS.warmUpRoundsMax; round += 1) {
      const missing = attempts.filter((attempt) => this.#needsStart(attempt));
      if (missing.length === 0) break;
      attempts = await Promise.all(
        attempts.map(async (attempt) =>
          this.#needsStart(attempt) ? this.#startBeside(attempt) : attempt,
        ),
      );
    }
    return attempts;
  }

  #needsStart(attempt: Attempt): boolean {
    if (attempt.kind === "failed" || attempt.group.cells.length > 0) return false;
    return attempt.group.workers.some(({ key }) => {
      const current = this.#groupOf.get(key);
      return current !== attempt.group && current?.isInUse === true;
    });
  }

  async #startBeside(attempt: Attempt): Promise<Attempt> {
    if (attempt.kind === "failed") return attempt;
    const { group } = attempt;
    try {
      await this.#starts.run(() => group.warmUp());
      return attempt;
    } catch (error) {
      this.#options.log.error({ err: error }, "a new version did not start beside the old one");
      // It may have started and not have passed the probe.
      group.sleep();
      return { kind: "failed", workers: group.workers, reason: reasonOf(error), group };
    }
  }

  /** Which group serves each worker from now on: a worker that failed keeps the one it has. */
  #assign(attempts: ReadonlyArray<Attempt>): ReadonlyMap<WorkerKey, CellGroup> {
    const assigned = new Map<WorkerKey, CellGroup>();
    for (const attempt of attempts) {
      const workers = attempt.kind === "ready" ? attempt.group.workers : attempt.workers;
      for (const { key } of workers) {
        const group = attempt.kind === "ready" ? attempt.group : this.#groupOf.get(key);
        if (group !== undefined) assigned.set(key, group);
      }
    }
    return assigned;
  }

  /** The moment of change, without a pause inside: requests go to the new groups, the old ones retire. */
  #switch(groupOf: ReadonlyMap<WorkerKey, CellGroup>): void {
    const before = this.#groupOf;
    const old = this.#groups();
    this.#groupOf = groupOf;
    this.#publish([...new Set([...before.keys(), ...groupOf.keys()])]);
    const kept = this.#groups();
    for (const group of old) if (!kept.has(group)) group.retire();
  }

  /** Tells the ingress where these workers listen, as far as that changed. */
  #publish(workers: ReadonlyArray<WorkerKey>): void {
    for (const worker of workers) {
      const cells = this.#groupOf.get(worker)?.cells ?? [];
      const socketPaths = cells.map((cell) => cell.socketPath(worker));
      if (socketPaths.join() === (this.#published.get(worker) ?? []).join()) continue;
      for (const cell of cells) this.#remember(cell, cell.socketPath(worker));
      if (cells.length === 0) this.#published.delete(worker);
      else this.#published.set(worker, socketPaths);
      this.#options.ingress.publish(worker, socketPaths);
    }
  }

  /** Keeps a cell findable by its socket for requests that it breaks off. */
  #remember(cell: WarmCell, socketPath: string): void {
    if (this.#cellAt.has(socketPath)) return;
    this.#cellAt.set(socketPath, cell);
    void cell.ended.then(async () => {
      await setTimeout(LIMITS.lossMemoryMs, undefined, { ref: false });
      this.#cellAt.delete(socketPath);
    });
  }

  #noteLimit(group: CellGroup, reason: LimitBreach): void {
    const event: LimitEvent = {
      at: new Date(this.#options.clock.nowMs()).toISOString(),
      workers: group.workers.map((worker) => worker.name),
      reason,
    };
    this.#limitEvents = [...this.#limitEvents, event].slice(-LIMITS.limitEventsMax);
  }

  #drainAndStop(group: CellGroup, cell: WarmCell): void {
    const drain = async (): Promise<void> => {
      try {
        // An activation that was answered just now has its request in flight a turn later.
        await setImmediate();
        await Promise.all(cell.socketPaths.map((path) => this.#options.ingress.drain(path)));
      } catch (error) {
        this.#options.log.error({ err: error }, "a cell could not be drained and is stopped");
      }
      await cell.stop();
    };
    const end = drain().finally(() => this.#retiring.delete(cell));
    this.#retiring.set(cell, { group, end });
  }

  #groups(): ReadonlySet<CellGroup> {
    return new Set(this.#groupOf.values());
  }
}

function closed(): EdgeError {
  return new EdgeError("closed", "the cell supervisor was shut down");
}
