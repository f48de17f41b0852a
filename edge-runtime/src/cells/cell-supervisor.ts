import { availableParallelism } from "node:os";
import type {
  CellStatus,
  CellStopReason,
  Version,
  WorkerFailure,
  WorkerKey,
} from "@atoll/control-plane/contract";
import { configureGroup, type KvCapability } from "../config/group-config.ts";
import { Turnstile } from "../config/turnstile.ts";
import { EdgeError } from "../errors.ts";
import type { Activation, Activator, CellLoss, Ingress } from "../ingress/ingress.ts";
import { type TargetKey, workerOfTarget } from "../ingress/target-key.ts";
import { LIMITS } from "../limits.ts";
import { BesideStarts } from "./beside-starts.ts";
import { CellGroup, type GroupEvents } from "./cell-group.ts";
import { CellHistory } from "./cell-history.ts";
import { CellKeeper } from "./cell-keeper.ts";
import { type CellListener, listenTogether } from "./cell-events.ts";
import { CellLog } from "./cell-log.ts";
import { countsOf, statusOf } from "./cell-status.ts";
import {
  assignGroups,
  type Attempt,
  failedGroups,
  failuresOf,
  groupsToPrewarm,
  isFaultOfWorker,
  reasonOf,
} from "./group-attempt.ts";
import { LatestTurn } from "./latest-turn.ts";
import { defaultMemoryBudget } from "./memory-budget.ts";
import { PublishedCells } from "./published-cells.ts";
import { planApart, planCells } from "./plan-cells.ts";
import type { PreparedWorker } from "./prepared-worker.ts";
import { RetiringCells } from "./retiring-cells.ts";
import { ServingGroups } from "./serving-groups.ts";
import { SpareCores } from "./spare-cores.ts";
import { isBeside, targetsOfGroup } from "./version-role.ts";
import type { CellSources, WarmCell } from "./warm-cell.ts";
import { WatchedGroups } from "./watched-groups.ts";

export interface CellSupervisorOptions extends Omit<CellSources, "listener"> {
  /** Where requests arrive. */
  readonly ingress: Pick<Ingress, "publish" | "drain" | "requestsOf" | "settled">;
  readonly kvCapability: KvCapability;
  /** What a watched worker's tail tells with. */
  readonly tailCapability: (worker: Pick<PreparedWorker, "key" | "version">) => string;
  /** Requests of a watched worker that are not told. */
  readonly onSkipped: (worker: WorkerKey, count: number) => void;
  /** Hear of each start and end of a cell, besides log and status. */
  readonly listeners?: ReadonlyArray<CellListener>;
  /** What all cells together may take; by default a part of the machine's memory. */
  readonly memoryBudgetBytes?: number;
  /** Processors that cells can run on; by default all that there are. */
  readonly cores?: number;
  /** How many of them had nothing to do since this was asked before; by default as the kernel counts. */
  readonly spareCores?: () => number;
}

/**
 * Keeps the workers of a node running: decides which share a cell, starts cells on demand and beside
 * those that they replace, tells the ingress where each worker listens, and ends what is not needed.
 * See CELLS.md.
 */
export class CellSupervisor implements Activator {
  readonly #options: CellSupervisorOptions & CellSources;
  readonly #history = new CellHistory();
  readonly #events: GroupEvents;
  readonly #starts: BesideStarts;
  /** Whoever changes which group serves whom goes through here alone. */
  readonly #changes = new Turnstile(1);
  #serving = new ServingGroups();
  /**
   * Groups that did not start in the latest apply or since, by identity. They rest like a cell that keeps
   * dying, so that a version which never starts does not slow down everybody else's deploys.
   */
  #failed: ReadonlyMap<string, CellGroup> = new Map();
  readonly #published: PublishedCells;
  readonly #retiring: RetiringCells;
  readonly #applies = new LatestTurn((workers: ReadonlyArray<PreparedWorker>) =>
    this.#changes.run(() => this.#apply(workers)),
  );
  #isDisposed = false;
  readonly #spareCores: SpareCores;
  readonly #keeper: CellKeeper;
  readonly #watched: WatchedGroups;
  /** Whether it runs what this node is to run: before, everything is new to it. */
  #hasApplied = false;

  constructor(options: CellSupervisorOptions) {
    const listeners = [new CellLog(options.log), this.#history, ...(options.listeners ?? [])];
    this.#options = { ...options, listener: listenTogether(listeners) };
    this.#starts = new BesideStarts(options);
    this.#published = new PublishedCells(options.ingress);
    this.#retiring = new RetiringCells(options);
    this.#events = {
      cellChanged: (group) =>
        this.#publish(this.#serving.targetsOf(this.#watched.originalOf(group))),
      retired: (group, cell, reason) => this.#retiring.add({ group, cell }, reason),
    };
    this.#spareCores = new SpareCores(options.clock);
    this.#keeper = new CellKeeper({
      memoryBudgetBytes: defaultMemoryBudget(),
      cores: availableParallelism(),
      spareCores: () => this.#spareCores.look(),
      ...options,
      groups: () => new Set(this.#allGroups()),
    });
    this.#watched = new WatchedGroups({
      ...options,
      groups: () => this.#serving.all,
      newGroup: (workers) => this.#newGroup(workers),
      start: (group) => this.#starts.run(group),
      changed: (group) => this.#publish(this.#serving.targetsOf(group)),
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
    return this.#applies.take(workers);
  }

  /** What does not run here as a version any more, as when a split has just ended, goes to its worker. */
  async activate(target: TargetKey): Promise<Activation> {
    const begunMs = performance.now();
    const { cell, isWarm } = await this.#activate(target);
    const socketPath = cell.socketPath(workerOfTarget(target));
    if (isWarm) return { socketPath };
    return { socketPath, coldMs: Math.max(1, Math.round(performance.now() - begunMs)) };
  }

  /** A cell of a target for an event, started if there is none; rejected as `activate` is. */
  async cellFor(target: TargetKey): Promise<WarmCell> {
    return (await this.#activate(target)).cell;
  }

  async #activate(
    target: TargetKey,
  ): Promise<{ readonly cell: WarmCell; readonly isWarm: boolean }> {
    const worker = workerOfTarget(target);
    // More than one round only when cells are dying, or an apply replaces the group meanwhile.
    for (let round = 0; round < LIMITS.activationRoundsMax; round += 1) {
      const group = this.#servingFor(target);
      if (group === undefined) throw new EdgeError("worker_unknown", `${target} is not run here`);
      const isWarm = group.cells.length > 0 && round === 0;
      const cell = await this.#findCell(group, target);
      if (cell !== undefined) return { cell, isWarm };
    }
    throw new EdgeError("cell_failed", `${worker} lost its cell, or was replaced, each time`);
  }

  /** A cell of a group that takes requests; none when it lost its cells, or was replaced, meanwhile. */
  async #findCell(group: CellGroup, target: TargetKey): Promise<WarmCell | undefined> {
    const isCurrent = (): boolean => this.#servingFor(target) === group;
    try {
      const isWarm = group.cells.length > 0;
      const cell = isWarm
        ? await group.firstAccepting(workerOfTarget(target))
        : await group.activate();
      // One that was put out of use is drained already, and nobody waits for what comes later.
      return isCurrent() && cell !== undefined && group.cells.includes(cell) ? cell : undefined;
    } catch (error) {
      if (!isCurrent() || this.#watched.giveUp(group)) return undefined;
      if (!isFaultOfWorker(error) || planApart(group.workers).length < 2) throw error;
      await this.#changes.run(() => this.#takeApart(group));
      return undefined;
    }
  }

  /**
   * Gives the parts of a cold group that does not start, or rests, groups of their own, as a deploy would:
   * what is broken must not hold back what only shares its cell.
   */
  async #takeApart(group: CellGroup): Promise<void> {
    // Others who waited for it, or a deploy, may have come first.
    if (!this.#serving.all.has(group) || group.cells.length > 0) return;
    const { workers, config } = group;
    const targets = this.#serving.targetsOf(group);
    const parts = planApart(workers).map((part) => this.#prepare(part, new Map()));
    const attempts = await Promise.all(parts);
    if (this.#isDisposed) return;
    const names = workers.map(({ key }) => key);
    this.#options.log.warn({ workers: names }, "workers that share a cell are tried by themselves");
    // This one retires: an apply that plans the same again needs one to know by its identity, and to try.
    const whole = new CellGroup({ ...this.#options, workers, config, events: this.#events });
    this.#failed = new Map([...this.#failed, [whole.identity, whole]]);
    const targetsOf = (part: ReadonlyArray<PreparedWorker>): ReadonlyArray<TargetKey> => {
      const keys = new Set(part.map(({ key }) => key));
      return targets.filter((target) => keys.has(workerOfTarget(target)));
    };
    this.#switch(this.#serving.with(assignGroups(attempts, targetsOf, this.#serving)));
  }

  /** Those of its workers that somebody watches; a deploy changes nothing of it. */
  get watched(): Pick<WatchedGroups, "watch" | "noteTold"> {
    return this.#watched;
  }

  lossOf(socketPath: string): Promise<CellLoss | undefined> {
    return this.#published.lossOf(socketPath);
  }

  /** The version of a worker that serves here. */
  versionOf(worker: WorkerKey): Version | undefined {
    const workers = this.#serving.ownOf(worker)?.workers;
    return workers?.find(({ key }) => key === worker)?.version;
  }

  /** How cells ended. */
  get ends(): CellHistory["ends"] {
    return this.#history.ends;
  }

  /** Cells that have a process, by whether new requests go to them, and requests that wait for one. */
  get counts(): { readonly warm: number; readonly draining: number; readonly waiting: number } {
    return { ...countsOf(this.#allGroups()), draining: this.#retiring.all.length };
  }

  /** Every cell that has a process, those that drain included. */
  status(): ReadonlyArray<CellStatus> {
    return statusOf(this.#allGroups(), this.#retiring.all);
  }

  /** Drains and stops every cell. May be called twice. The host and the ingress stay their owner's. */
  async dispose(): Promise<void> {
    this.#isDisposed = true;
    await this.#applies.stop(closed());
    await this.#keeper.stop();
    this.#spareCores.close();
    const groups = [...this.#serving.all, ...this.#watched.close(), ...this.#failed.values()];
    this.#switch(new ServingGroups());
    this.#keepFailed(new Map());
    await Promise.all([...groups.map((group) => group.settled()), this.#starts.settled()]);
    await this.#retiring.settled();
  }

  async #apply(workers: ReadonlyArray<PreparedWorker>): Promise<ReadonlyArray<WorkerFailure>> {
    const known = new Map([
      ...this.#failed,
      ...[...this.#serving.all].map((group) => [group.identity, group] as const),
    ]);
    const attempts = await this.#attempt(planCells(workers), known);
    if (this.#isDisposed) {
      for (const { group } of attempts) group?.retire("stopped");
      throw closed();
    }
    this.#switch(new ServingGroups(assignGroups(attempts, targetsOfGroup, this.#serving)));
    const added = groupsToPrewarm(attempts).filter(({ identity }) => !known.has(identity));
    // What a node finds when it starts was not deployed just now, and may be hundreds.
    if (this.#hasApplied) this.#keeper.prewarm(added);
    this.#hasApplied = true;
    this.#keepFailed(failedGroups(attempts));
    const configs = this.#allGroups().map((group) => group.config);
    this.#options.host.keepReady(configs.flatMap((config) => config.sites));
    await this.#options.compiler.retain(configs.map((config) => config.hash));
    return attempts.flatMap(failuresOf);
  }

  #keepFailed(failed: ReadonlyMap<string, CellGroup>): void {
    const before = this.#failed;
    this.#failed = failed;
    for (const [identity, group] of before) {
      // One may have started since, for nobody who wants it any more.
      if (failed.has(identity) || this.#serving.all.has(group)) continue;
      group.retire(this.#isDisposed ? "stopped" : "removed");
    }
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
      if (!this.#isFailed(attempt)) return [attempt];
      const { group } = attempt;
      // A version beside another one is bound to all that is in its cell.
      const parts = attempt.workers.some(isBeside) ? [] : planApart(attempt.workers);
      if (parts.length < 2) return [attempt];
      // The whole is kept with nobody in it, so that it rests before it is tried again.
      const whole = { kind: "failed", workers: [], reason: "", group } as const;
      return [whole, ...(await this.#attempt(parts, known))];
    });
    return (await Promise.all(attempts)).flat();
  }

  /** Whether a group did not start, now or when that was tried last. */
  #isFailed(attempt: Attempt): boolean {
    if (attempt.kind === "failed") return true;
    return attempt.group.cells.length === 0 && this.#failed.has(attempt.group.identity);
  }

  /** The group as it runs already, or a new one whose config is compiled. */
  async #prepare(
    workers: ReadonlyArray<PreparedWorker>,
    known: ReadonlyMap<string, CellGroup>,
  ): Promise<Attempt> {
    try {
      const group = this.#newGroup(workers);
      const same = known.get(group.identity);
      if (same !== undefined) return { kind: "ready", workers, group: same };
      await group.compile();
      return { kind: "ready", workers, group };
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
          this.#needsStart(attempt) ? this.#starts.attempt(attempt) : attempt,
        ),
      );
    }
    return attempts;
  }

  #needsStart(attempt: Attempt): boolean {
    if (attempt.kind === "failed") return false;
    if (this.#starts.isUnderWay(attempt.group)) return true;
    if (attempt.group.cells.length > 0) return false;
    // A version that is to get a part of a worker's requests follows on the one that has them all.
    return targetsOfGroup(attempt.workers).some((target) => {
      const current = this.#serving.groupFor(target);
      if (current === undefined || current === attempt.group) return false;
      return this.#watched.isInUse(current);
    });
  }

  /** The moment of change, without a pause inside: requests go to the new groups, the old ones retire. */
  #switch(serving: ServingGroups): void {
    const before = this.#serving;
    this.#serving = serving;
    this.#publish([...new Set([...before.targets, ...serving.targets])]);
    const kept = serving.all;
    for (const group of before.all) if (!kept.has(group)) group.retire(this.#reasonToRetire(group));
    void this.#watched.follow();
  }

  #reasonToRetire(group: CellGroup): CellStopReason {
    if (this.#isDisposed) return "stopped";
    return group.workers.some(({ key }) => this.#serving.ownOf(key) !== undefined)
      ? "replaced"
      : "removed";
  }

  #publish(targets: ReadonlyArray<TargetKey>): void {
    for (const target of targets) {
      const group = this.#serving.ownOf(target);
      const cells = group === undefined ? [] : this.#watched.serving(group).cells;
      this.#published.publish(target, cells);
    }
  }

  /** The group whose cells take a target's requests. */
  #servingFor(target: TargetKey): CellGroup | undefined {
    const group = this.#serving.groupFor(target);
    return group === undefined ? undefined : this.#watched.serving(group);
  }

  /** Throws `config_invalid`. */
  #newGroup(workers: ReadonlyArray<PreparedWorker>): CellGroup {
    const config = configureGroup(workers, this.#options.kvCapability);
    return new CellGroup({ ...this.#options, workers, config, events: this.#events });
  }

  /** Those that serve, and those that tell in their place. */
  #allGroups(): ReadonlyArray<CellGroup> {
    return [...this.#serving.all, ...this.#watched.doubles];
  }
}

function closed(): EdgeError {
  return new EdgeError("closed", "the cell supervisor was shut down");
}
