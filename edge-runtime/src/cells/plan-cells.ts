import {
  codeBytes,
  type AccountId,
  type AccountSettings,
  type Version,
  type WorkerKey,
  type WorkerName,
} from "@atoll/control-plane/contract";
import { LIMITS } from "../limits.ts";
import { DisjointSets } from "./disjoint-sets.ts";
import { isBeside, type VersionRole } from "./version-role.ts";

/** What grouping depends on. */
export interface PlannedWorker {
  readonly key: WorkerKey;
  readonly account: AccountId;
  readonly version: Pick<Version, "bindings" | "code">;
  readonly tailConsumers?: ReadonlyArray<WorkerName>;
  readonly settings: Pick<AccountSettings, "cells">;
  readonly role?: VersionRole;
  /** Called in its place, for a part of the calls. */
  readonly other?: {
    readonly member: Pick<PlannedWorker, "account" | "version" | "tailConsumers">;
  };
}

type Group<Worker> = ReadonlyArray<Worker>;

/**
 * Decides which workers share a cell: those that are bound to each other by service bindings, or as tail
 * consumers, directly or through others, and nobody else. Bindings never lead out of an account. Where an account's policy is
 * `shared`, such groups of its own are put together as far as `LIMITS` allows: then a cell has either one
 * group, or several that are small. A version beside the one that serves its worker has a cell of its own, with
 * all that it calls. The order of the workers doesn't matter: groups and their members come sorted by key. Keys
 * must be distinct, but for versions beside others.
 */
export function planCells<Worker extends PlannedWorker>(
  workers: ReadonlyArray<Worker>,
): ReadonlyArray<Group<Worker>> {
  const serving = workers.filter((worker) => !isBeside(worker));
  const beside = workers.filter(isBeside).map((version) => withCallees(version, serving));
  const bound = planApart(serving);
  const isShared = (group: Group<Worker>): boolean => group[0]?.settings.cells === "shared";
  const accounts = Map.groupBy(bound.filter(isShared), (group) => group[0]?.account);
  const shared = [...accounts.values()].flatMap(putTogether);
  const apart = bound.filter((group) => !isShared(group));
  return [...[...apart, ...shared].toSorted(byFirstKey), ...beside];
}

/** A version with the workers that it calls, directly or through others. Who calls it stays outside. */
function withCallees<Worker extends PlannedWorker>(
  version: Worker,
  serving: ReadonlyArray<Worker>,
): Group<Worker> {
  const known = new Map(serving.map((worker) => [worker.key, worker]));
  const group = new Map([[version.key, version]]);
  // Whoever is added is visited in its turn.
  for (const member of group.values()) {
    for (const key of boundWorkers(member)) {
      const callee = known.get(key);
      if (callee !== undefined && !group.has(key)) group.set(key, callee);
    }
  }
  return [...group.values()].toSorted((a, b) => (a.key < b.key ? -1 : 1));
}

/** Groups in which everybody has to be in one cell, and no larger ones, whatever the policy. */
export function planApart<Worker extends PlannedWorker>(
  workers: ReadonlyArray<Worker>,
): ReadonlyArray<Group<Worker>> {
  const sorted = workers.toSorted((a, b) => (a.key < b.key ? -1 : 1));
  const groups = new DisjointSets(sorted.map((worker) => worker.key));
  const called = new Set(sorted.flatMap(boundWorkers));
  for (const worker of sorted) {
    // Nobody needs the version beside a worker that nobody calls.
    const bound = called.has(worker.key) ? boundWorkers(worker) : boundTo(worker);
    for (const target of bound) groups.join(worker.key, target);
  }
  return [...Map.groupBy(sorted, (worker) => groups.rootOf(worker.key)).values()];
}

/** Fills one cell after the other with the groups of one account. What is too large has its own. */
function putTogether<Worker extends PlannedWorker>(
  groups: ReadonlyArray<Group<Worker>>,
): ReadonlyArray<Group<Worker>> {
  const cells: Worker[][] = [];
  const large: Array<Group<Worker>> = [];
  for (const group of groups) {
    const open = cells.at(-1);
    if (!mayShare(group)) large.push(group);
    else if (open !== undefined && mayShare([...open, ...group])) open.push(...group);
    else cells.push([...group]);
  }
  return [...cells.map((cell) => cell.toSorted((a, b) => (a.key < b.key ? -1 : 1))), ...large];
}

function mayShare(workers: Group<PlannedWorker>): boolean {
  const bytes = workers.reduce((sum, worker) => sum + codeBytes(worker.version.code), 0);
  return workers.length <= LIMITS.sharedCellWorkersMax && bytes <= LIMITS.sharedCellCodeBytesMax;
}

function byFirstKey(a: Group<PlannedWorker>, b: Group<PlannedWorker>): number {
  return (a[0]?.key ?? "") < (b[0]?.key ?? "") ? -1 : 1;
}

/** Keys of the workers that a worker, and the version beside it, call, or that hear of it; they need not exist. */
function boundWorkers({ other, ...worker }: PlannedWorker): ReadonlyArray<WorkerKey> {
  return [...boundTo(worker), ...(other === undefined ? [] : boundTo(other.member))];
}

function boundTo(
  worker: Pick<PlannedWorker, "account" | "version" | "tailConsumers">,
): ReadonlyArray<WorkerKey> {
  const services = worker.version.bindings.flatMap((binding) =>
    binding.type === "service" ? [binding.service] : [],
  );
  return [...services, ...(worker.tailConsumers ?? [])].map((name) => `${worker.account}/${name}`);
}
