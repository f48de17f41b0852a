import type { DesiredWorker, WorkerFailure } from "@atoll/control-plane/contract";
import type { NamespaceId } from "@atoll/kv-store";
import type { Logger } from "pino";
import type { CellSupervisor } from "../cells/cell-supervisor.ts";
import type { PreparedWorker } from "../cells/prepared-worker.ts";
import type { Ingress } from "../ingress/ingress.ts";
import { parseRoutePattern } from "../ingress/route-pattern.ts";
import { boundNamespaces, type KvCapabilities } from "./kv-capabilities.ts";
import { workerKey } from "./state-follower.ts";
import type { WorkerPreparer } from "./worker-preparer.ts";

export interface WorkerRunnerOptions {
  readonly preparer: WorkerPreparer;
  readonly supervisor: Pick<CellSupervisor, "apply">;
  readonly ingress: Pick<Ingress, "setRoutes">;
  readonly capabilities: KvCapabilities;
  /** Resolves when the replica holds these namespaces. */
  readonly hold: (namespaces: ReadonlyArray<NamespaceId>) => Promise<void>;
  readonly log: Logger;
}

/** Makes the node run a set of workers: data first, then cells, then routes, then what is left over. */
export class WorkerRunner {
  readonly #options: WorkerRunnerOptions;
  #running: ReadonlyArray<DesiredWorker> = [];

  constructor(options: WorkerRunnerOptions) {
    this.#options = options;
  }

  /** As `RunWorkers` says. */
  async run(workers: ReadonlyArray<DesiredWorker>): Promise<ReadonlyArray<WorkerFailure>> {
    const { capabilities, hold, supervisor, ingress, preparer, log } = this.#options;
    // Cells that drain keep what they were granted, and a worker that fails keeps its old version.
    const both = [...this.#running, ...workers];
    capabilities.grant(both);
    const [prepared] = await Promise.all([
      this.#prepare(workers),
      hold(both.flatMap(boundNamespaces)),
    ]);
    const failures = [...prepared.failures, ...(await supervisor.apply(prepared.workers))];
    this.#running = settled({ before: this.#running, wanted: workers, failures });
    ingress.setRoutes(
      this.#running.flatMap((worker) =>
        worker.routes.map((pattern) => ({ pattern, worker: workerKey(worker) })),
      ),
    );
    // Leftovers cost space, not correctness: they must not fail what already serves.
    await preparer.prune(both).catch((error: unknown) => {
      log.warn({ err: error }, "could not remove what is no longer needed");
    });
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
        prepared.push(await this.#options.preparer.prepare(worker));
      } catch (error) {
        failures.push(failureOf(worker, error));
        const before = this.#running.find((other) => workerKey(other) === workerKey(worker));
        if (before !== undefined) prepared.push(await this.#options.preparer.prepare(before));
      }
    }
    return { workers: prepared, failures };
  }
}

/** What runs after an attempt: each failed worker as it was before, if it was. */
function settled(attempt: {
  readonly before: ReadonlyArray<DesiredWorker>;
  readonly wanted: ReadonlyArray<DesiredWorker>;
  readonly failures: ReadonlyArray<WorkerFailure>;
}): ReadonlyArray<DesiredWorker> {
  const failed = new Set(attempt.failures.map(({ worker }) => worker));
  const before = new Map(attempt.before.map((worker) => [workerKey(worker), worker]));
  return attempt.wanted.flatMap((worker) => {
    const key = workerKey(worker);
    return failed.has(key) ? (before.get(key) ?? []) : worker;
  });
}

function failureOf(worker: DesiredWorker, error: unknown): WorkerFailure {
  const reason = error instanceof Error ? error.message : String(error);
  const version = worker.versions[0]?.version.id ?? "";
  return { worker: workerKey(worker), version, reason: reason.slice(0, 2_000) };
}
