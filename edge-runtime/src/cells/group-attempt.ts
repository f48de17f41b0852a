import type { WorkerFailure } from "@atoll/control-plane/contract";
import { LIMITS } from "../limits.ts";
import type { CellGroup } from "./cell-group.ts";
import type { PreparedWorker } from "./prepared-worker.ts";

/** A group that should run, or why it can't. */
export type Attempt =
  | { readonly kind: "ready"; readonly group: CellGroup }
  | {
      readonly kind: "failed";
      readonly workers: ReadonlyArray<PreparedWorker>;
      readonly reason: string;
      /** Absent when there was not even a config. */
      readonly group: CellGroup | undefined;
    };

export function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.slice(0, LIMITS.failureReasonLengthMax);
}

export function failuresOf(attempt: Attempt): ReadonlyArray<WorkerFailure> {
  if (attempt.kind === "ready") return [];
  return attempt.workers.map(({ key, version }) => ({
    worker: key,
    version: version.id,
    reason: attempt.reason,
  }));
}
