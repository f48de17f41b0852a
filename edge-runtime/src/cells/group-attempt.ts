import type { WorkerFailure } from "@atoll/control-plane/contract";
import { EdgeError, type EdgeErrorCode } from "../errors.ts";
import type { TargetKey } from "../ingress/target-key.ts";
import { LIMITS } from "../limits.ts";
import type { CellGroup } from "./cell-group.ts";
import type { PreparedWorker } from "./prepared-worker.ts";
import type { ServingGroups } from "./serving-groups.ts";
import { isBeside, isOnDemand } from "./version-role.ts";

/**
 * A group that should run, or why it can't, with the workers as they were planned. Those of a group that runs
 * already may have had other roles when it was made.
 */
export type Attempt = { readonly workers: ReadonlyArray<PreparedWorker> } & (
  | { readonly kind: "ready"; readonly group: CellGroup }
  | {
      readonly kind: "failed";
      readonly reason: string;
      /** Absent when there was not even a config. */
      readonly group: CellGroup | undefined;
    }
);

const WORKER_FAULTS: ReadonlySet<EdgeErrorCode> = new Set([
  "config_invalid",
  "cell_failed",
  "cell_start_timeout",
  "cell_backoff",
  "cpu_exceeded",
  "memory_exceeded",
]);

/** Whether a group's start failed, or is refused, for what one of its workers may have done. */
export function isFaultOfWorker(error: unknown): boolean {
  return error instanceof EdgeError && WORKER_FAULTS.has(error.code);
}

export function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.slice(0, LIMITS.failureReasonLengthMax);
}

export function failuresOf(attempt: Attempt): ReadonlyArray<WorkerFailure> {
  // A preview that can't be run is no failure of its worker: whoever asks for it hears of it.
  if (attempt.kind === "ready" || attempt.workers.some(isOnDemand)) return [];
  // Who is beside others in a cell is there for them: what they answer for by themselves runs elsewhere.
  const beside = attempt.workers.filter(isBeside);
  const failed = beside.length > 0 ? beside : attempt.workers;
  return failed.map(({ key, version }) => ({
    worker: key,
    version: version.id,
    reason: attempt.reason,
  }));
}

/** Which group serves each target after these attempts: what failed keeps the one that it has. */
export function assignGroups(
  attempts: ReadonlyArray<Attempt>,
  targetsOf: (workers: ReadonlyArray<PreparedWorker>) => ReadonlyArray<TargetKey>,
  before: Pick<ServingGroups, "ownOf">,
): ReadonlyMap<TargetKey, CellGroup> {
  const assigned = new Map<TargetKey, CellGroup>();
  for (const attempt of attempts) {
    for (const target of targetsOf(attempt.workers)) {
      const group = attempt.kind === "ready" ? attempt.group : before.ownOf(target);
      if (group !== undefined) assigned.set(target, group);
    }
  }
  return assigned;
}

/** Groups that did not start, by identity. */
export function failedGroups(attempts: ReadonlyArray<Attempt>): ReadonlyMap<string, CellGroup> {
  return new Map(
    attempts.flatMap((attempt) =>
      attempt.kind === "failed" && attempt.group !== undefined
        ? [[attempt.group.identity, attempt.group]]
        : [],
    ),
  );
}

/** Groups that may be started before anybody asks for them. */
export function groupsToPrewarm(attempts: ReadonlyArray<Attempt>): ReadonlyArray<CellGroup> {
  return attempts.flatMap((attempt) =>
    attempt.kind === "failed" || attempt.workers.some(isOnDemand) ? [] : [attempt.group],
  );
}
