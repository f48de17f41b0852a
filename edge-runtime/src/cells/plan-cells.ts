import type { AccountId, Version, WorkerKey } from "@atoll/control-plane/contract";

/** What grouping depends on. */
export interface PlannedWorker {
  readonly key: WorkerKey;
  readonly account: AccountId;
  readonly version: Pick<Version, "bindings">;
}

/**
 * Decides which workers share a cell: those that are bound to each other by service bindings, directly
 * or through others, and nobody else. Bindings never lead out of an account. The order of the workers
 * doesn't matter: groups and their members come sorted by key. Keys must be distinct.
 */
export function planCells<Worker extends PlannedWorker>(
  workers: ReadonlyArray<Worker>,
): ReadonlyArray<ReadonlyArray<Worker>> {
  const sorted = workers.toSorted((a, b) => (a.key < b.key ? -1 : 1));
  const groups = new DisjointSets(sorted.map((worker) => worker.key));
  for (const worker of sorted) {
    for (const target of boundWorkers(worker)) groups.join(worker.key, target);
  }
  return [...Map.groupBy(sorted, (worker) => groups.rootOf(worker.key)).values()];
}

/** Keys of the workers that a worker calls; they need not exist. */
function boundWorkers(worker: PlannedWorker): ReadonlyArray<WorkerKey> {
  return worker.version.bindings.flatMap((binding) =>
    binding.type === "service" ? [`${worker.account}/${binding.service}`] : [],
  );
}

/** Disjoint sets of keys; the root of a set is its smallest key, so it does not depend on the order. */
class DisjointSets {
  readonly #parents: Map<string, string>;

  constructor(keys: ReadonlyArray<string>) {
    this.#parents = new Map(keys.map((key) => [key, key]));
  }

  /** Unites the sets of two keys; a key that is in no set is left out. */
  join(a: string, b: string): void {
    if (!this.#parents.has(a) || !this.#parents.has(b)) return;
    const [low, high] = [this.rootOf(a), this.rootOf(b)].toSorted();
    this.#parents.set(high as string, low as string);
  }

  rootOf(key: string): string {
    let root = key;
    for (let parent = this.#parents.get(root); parent !== undefined && parent !== root;) {
      root = parent;
      parent = this.#parents.get(root);
    }
    // Paths stay short because what was looked up points to the root from now on.
    this.#parents.set(key, root);
    return root;
  }
}
