import type {
  DeployedVersion,
  DesiredWorker,
  WorkerFailure,
  WorkerKey,
} from "@atoll/control-plane/contract";
import type { Clock, NamespaceId } from "@atoll/kv-store";
import type { Logger } from "pino";
import type { CellSupervisor } from "../cells/cell-supervisor.ts";
import type { PreparedWorker } from "../cells/prepared-worker.ts";
import { EdgeError } from "../errors.ts";
import type { Ingress } from "../ingress/ingress.ts";
import { LIMITS } from "../limits.ts";
import type { DayGate } from "../quotas/day-gate.ts";
import { positionsOf, type Split, targetOfName } from "../ingress/split.ts";
import { parseRoutePattern } from "../ingress/route-pattern.ts";
import { previewTarget, type TargetKey, versionTarget } from "../ingress/target-key.ts";
import { boundNamespaces, type KvCapabilities } from "./kv-capabilities.ts";
import { workerKey } from "./state-follower.ts";
import { roledVersions, type RoledVersion, splitOf } from "./version-shares.ts";
import type { WorkerPreparer } from "./worker-preparer.ts";

export interface WorkerRunnerOptions {
  readonly preparer: Pick<WorkerPreparer, "prepare" | "prune">;
  readonly supervisor: Pick<CellSupervisor, "apply">;
  readonly ingress: Pick<Ingress, "setRoutes">;
  /** Told of what runs before requests reach it. */
  readonly dayGate: Pick<DayGate, "setWorkers">;
  readonly capabilities: KvCapabilities;
  /** Resolves when the replica holds these namespaces. */
  readonly hold: (namespaces: ReadonlyArray<NamespaceId>) => Promise<void>;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Makes the node run a set of workers: data first, then cells, then routes. What nothing needs any more is
 * removed later, when no cell that had it can still be draining.
 */
export class WorkerRunner {
  readonly #options: WorkerRunnerOptions;
  readonly #stopPruning: () => void;
  #running: ReadonlyArray<DesiredWorker> = [];
  /** What was to run and could not be made to: it is tried again, so what is here of it stays. */
  #failed: ReadonlyArray<DesiredWorker> = [];
  /** What was prepared of each worker that runs: a version never changes, so it is done once. */
  #prepared: ReadonlyMap<WorkerKey, ReadonlyArray<PreparedWorker>> = new Map();
  /** Versions that are here for their previews alone, the least recently asked for first. */
  readonly #previews = new Map<TargetKey, OpenPreview>();
  /** All that runs, previews among it, and all that failed, as of the latest change. */
  #kept: ReadonlySet<DesiredWorker> | undefined;
  /** What was among it, and when it left. */
  #left: ReadonlyArray<{ readonly worker: DesiredWorker; readonly atMs: number }> = [];
  #isPruned = true;
  /** The run or the removal under way: a removal must not take what a run has just seen to be there. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: WorkerRunnerOptions) {
    this.#options = options;
    this.#stopPruning = options.clock.every(LIMITS.drainMs, () => {
      this.#last = this.#last.then(() => this.#prune());
    });
  }

  /** As `RunWorkers` says. */
  run(workers: ReadonlyArray<DesiredWorker>): Promise<ReadonlyArray<WorkerFailure>> {
    const ran = this.#last.then(() => this.#run(workers));
    this.#last = ran.catch(() => undefined);
    return ran;
  }

  /**
   * Makes a version, the only one of `worker`, run on demand beside what serves. Resolves with the target of
   * its requests; one that serves has one already. Rejected with `preview_unknown` where the worker has no
   * previews any more, and as `WorkerPreparer.prepare` is.
   */
  async openPreview(worker: DesiredWorker): Promise<TargetKey> {
    const known = this.#knownTarget(worker);
    if (known !== undefined) return known;
    const opened = this.#last.then(() => this.#addPreview(worker));
    this.#last = opened.catch(() => undefined);
    return opened;
  }

  /** What a worker's call of this name goes to that is no request, such as one of a schedule. */
  targetOf(worker: WorkerKey, name: string): TargetKey {
    const serving = this.#running.find((each) => workerKey(each) === worker);
    const split = serving && splitOf(serving);
    return split === undefined ? worker : targetOfName(split, name);
  }

  #knownTarget(worker: DesiredWorker): TargetKey | undefined {
    const [key, id] = [workerKey(worker), onlyVersionOf(worker).version.id];
    const serving = this.#running.find((each) => workerKey(each) === key);
    if (serving?.previewHost === undefined) {
      throw new EdgeError("preview_unknown", `${key} has no previews here`);
    }
    const own = roledVersions(serving).find(({ deployed }) => deployed.version.id === id);
    if (own !== undefined) return own.role === "only" ? key : versionTarget(key, id);
    const target = previewTarget(key, id);
    const open = this.#previews.get(target);
    if (open === undefined) return undefined;
    this.#previews.delete(target);
    this.#previews.set(target, open);
    return target;
  }

  async #addPreview(worker: DesiredWorker): Promise<TargetKey> {
    // Others who asked for the same may have come first, or a deploy.
    const known = this.#knownTarget(worker);
    if (known !== undefined) return known;
    const { preparer, capabilities, hold, supervisor } = this.#options;
    const deployed = onlyVersionOf(worker);
    const target = previewTarget(workerKey(worker), deployed.version.id);
    const prepared = await preparer.prepare(worker, deployed);
    const needed = [...this.#needed, worker];
    capabilities.grant(needed);
    await hold(needed.flatMap(boundNamespaces));
    this.#previews.set(target, { worker, prepared: { ...prepared, role: "preview" } });
    for (const oldest of this.#previews.keys()) {
      if (this.#previews.size <= LIMITS.previewVersionsMax) break;
      this.#previews.delete(oldest);
    }
    const versions = [...this.#prepared.values()].flat();
    await supervisor.apply([...versions, ...this.#preparedPreviews(this.#running)]);
    this.#noteChange();
    return target;
  }

  /** Forgets previews of workers that have none any more, and of versions that serve by themselves. */
  #keepPreviews(workers: ReadonlyArray<DesiredWorker>): void {
    const wanted = new Map(workers.map((worker) => [workerKey(worker), worker]));
    for (const [target, { worker }] of this.#previews) {
      const serving = wanted.get(workerKey(worker));
      const { id } = onlyVersionOf(worker).version;
      const isServing = serving?.versions.some(({ version }) => version.id === id);
      if (serving?.previewHost === undefined || isServing) this.#previews.delete(target);
    }
  }

  /** All previews, each with what holds for its worker now, beside what is the version's for good. */
  #preparedPreviews(workers: ReadonlyArray<DesiredWorker>): ReadonlyArray<PreparedWorker> {
    const serving = new Map(workers.map((worker) => [workerKey(worker), worker]));
    return [...this.#previews.values()].map(({ worker, prepared }) => {
      const { settings, tailConsumers } = serving.get(workerKey(worker)) ?? worker;
      return { ...prepared, settings, tailConsumers };
    });
  }

  /** All that runs. */
  get #workers(): ReadonlyArray<DesiredWorker> {
    return [...this.#running, ...[...this.#previews.values()].map(({ worker }) => worker)];
  }

  /** What left so lately that cells of it may still be draining. */
  get #draining(): ReadonlyArray<DesiredWorker> {
    const sinceMs = this.#options.clock.monotonicMs() - LIMITS.drainMs;
    this.#left = this.#left.filter(({ atMs }) => atMs > sinceMs);
    return this.#left.map(({ worker }) => worker);
  }

  /** All whose data cells of this node may ask for. */
  get #needed(): ReadonlyArray<DesiredWorker> {
    return [...(this.#kept ?? []), ...this.#draining];
  }

  /** Takes note of what left. What is tried again and comes to the same is no change. */
  #noteChange(): void {
    const atMs = this.#options.clock.monotonicMs();
    const kept = new Set([...this.#workers, ...this.#failed]);
    const left = [...(this.#kept ?? [])].filter((worker) => !kept.has(worker));
    this.#left = [...this.#left, ...left.map((worker) => ({ worker, atMs }))];
    // At first there may be what an earlier run of the node left.
    if (this.#kept === undefined || left.length > 0) this.#isPruned = false;
    this.#kept = kept;
  }

  /** Removes nothing from now on, and resolves when nothing is under way. May be called twice. */
  async close(): Promise<void> {
    this.#stopPruning();
    await this.#last;
  }

  async #run(workers: ReadonlyArray<DesiredWorker>): Promise<ReadonlyArray<WorkerFailure>> {
    const { capabilities, hold, supervisor, ingress, dayGate } = this.#options;
    this.#keepPreviews(workers);
    // Cells that drain keep what they were granted, and a worker that fails keeps its old version.
    const all = [...this.#needed, ...workers];
    capabilities.grant(all);
    const [prepared] = await Promise.all([
      this.#prepare(workers),
      hold(all.flatMap(boundNamespaces)),
    ]);
    const versions = [...prepared.workers, ...this.#preparedPreviews(workers)];
    const failures = [...prepared.failures, ...(await supervisor.apply(versions))];
    const failed = new Set(failures.map(({ worker }) => worker));
    this.#running = settled({ before: this.#running, wanted: workers, failed });
    this.#failed = workers.filter((worker) => failed.has(workerKey(worker)));
    const before = this.#prepared;
    this.#prepared = new Map(
      [...Map.groupBy(prepared.workers, ({ key }) => key)].flatMap(([key, versions]) => {
        const kept = failed.has(key) ? before.get(key) : versions;
        return kept === undefined ? [] : [[key, kept] as const];
      }),
    );
    this.#noteChange();
    const routes = this.#running.flatMap((worker) =>
      worker.routes.map((pattern) => ({ pattern, worker: workerKey(worker) })),
    );
    const splits = this.#running.flatMap((worker) => splitOf(worker) ?? []);
    const previewHosts = new Map(
      this.#running.flatMap((worker) =>
        worker.previewHost === undefined ? [] : [[worker.previewHost, workerKey(worker)] as const],
      ),
    );
    dayGate.setWorkers(this.#running);
    ingress.setRoutes(routes, { splits, previewHosts });
    return failures;
  }

  /** A worker that can't be prepared is replaced by what runs of it, so that this keeps running. */
  async #prepare(workers: ReadonlyArray<DesiredWorker>): Promise<{
    readonly workers: ReadonlyArray<PreparedWorker>;
    readonly failures: ReadonlyArray<WorkerFailure>;
  }> {
    const failures: WorkerFailure[] = [];
    const prepared: PreparedWorker[] = [];
    for (const worker of workers) {
      try {
        // The ingress would refuse all routes for one that is malformed.
        for (const pattern of worker.routes) parseRoutePattern(pattern);
        const versions: PreparedWorker[] = [];
        for (const each of roledVersions(worker)) {
          versions.push(await this.#prepareVersion(worker, each));
        }
        prepared.push(...calledTogether(versions, splitOf(worker)));
      } catch (error) {
        failures.push(failureOf(worker, error));
        prepared.push(...(this.#prepared.get(workerKey(worker)) ?? []));
      }
    }
    return { workers: prepared, failures };
  }

  async #prepareVersion(
    worker: DesiredWorker,
    { deployed, role }: RoledVersion,
  ): Promise<PreparedWorker> {
    const known = this.#prepared.get(workerKey(worker)) ?? [];
    const same = known.find(({ version }) => version.id === deployed.version.id);
    // The version that was beside it then may be another one, or none.
    const { other: _, ...prepared } =
      same ?? (await this.#options.preparer.prepare(worker, deployed));
    const { settings, isScheduled, tailConsumers } = worker;
    return { ...prepared, settings, isScheduled, tailConsumers, role };
  }

  /** Leftovers cost space, not correctness: a failure to remove them is only told. */
  async #prune(): Promise<void> {
    const { preparer, log } = this.#options;
    if (this.#isPruned) return;
    const draining = this.#draining;
    this.#isPruned = draining.length === 0;
    try {
      await preparer.prune(this.#workers, [...this.#failed, ...draining]);
    } catch (error) {
      log.warn({ err: error }, "could not remove what is no longer needed");
    }
  }
}

/** Lets who calls the worker call both of its versions. */
function calledTogether(
  versions: ReadonlyArray<PreparedWorker>,
  split: Split | undefined,
): ReadonlyArray<PreparedWorker> {
  const [main, other, ...none] = versions;
  if (main === undefined || other === undefined || split === undefined) return versions;
  const share = positionsOf(split, other.version.id);
  // Calls can't ask for a version, as requests do for one without a share.
  return share === 0 ? versions : [{ ...main, other: { member: other, share } }, other, ...none];
}

/** A version that a preview names, as the only one of its worker. */
interface OpenPreview {
  readonly worker: DesiredWorker;
  readonly prepared: PreparedWorker;
}

function onlyVersionOf(worker: DesiredWorker): DeployedVersion {
  const [only] = worker.versions;
  if (only === undefined) throw new EdgeError("state_refused", `${worker.name} has no version`);
  return only;
}

/** What runs after an attempt: each failed worker as it was before, if it was. */
function settled(attempt: {
  readonly before: ReadonlyArray<DesiredWorker>;
  readonly wanted: ReadonlyArray<DesiredWorker>;
  readonly failed: ReadonlySet<WorkerKey>;
}): ReadonlyArray<DesiredWorker> {
  const before = new Map(attempt.before.map((worker) => [workerKey(worker), worker]));
  return attempt.wanted.flatMap((worker) => {
    const key = workerKey(worker);
    return attempt.failed.has(key) ? (before.get(key) ?? []) : worker;
  });
}

function failureOf(worker: DesiredWorker, error: unknown): WorkerFailure {
  const reason = error instanceof Error ? error.message : String(error);
  const version = worker.versions[0]?.version.id ?? "";
  return { worker: workerKey(worker), version, reason: reason.slice(0, 2_000) };
}
