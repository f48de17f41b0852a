import {
  type AccountId,
  CELL_FAULTS,
  type CellEndReason,
  type CellFaultReason,
  type VersionId,
  type WorkerKey,
  type WorkerName,
} from "@atoll/control-plane/contract";
import type { CellExit } from "./cell-host.ts";
import type { PreparedWorker } from "./prepared-worker.ts";

/** A worker of a cell, as far as those may know it who only hear of the cell. */
export interface CellMember {
  readonly account: AccountId;
  readonly worker: WorkerKey;
  readonly name: WorkerName;
  readonly version: VersionId;
}

/** A cell that listens. */
export interface CellStarted {
  readonly pid: number;
  readonly members: ReadonlyArray<CellMember>;
  /** From the request for a process until it listened. */
  readonly startMs: number;
}

/** A cell that is no more, or that never was one. */
export interface CellEnded {
  readonly atMs: number;
  readonly members: ReadonlyArray<CellMember>;
  readonly reason: CellEndReason;
  /** Absent of one that never listened. */
  readonly pid?: number;
  readonly exit: CellExit;
}

/**
 * Hears of each start and each end of a node's cells, once. Whoever needs to know of them listens here, so
 * that log, status and metrics tell the same. Must be cheap and must not throw.
 */
export interface CellListener {
  cellStarted(event: CellStarted): void;
  cellEnded(event: CellEnded): void;
}

/** One listener that tells all of them. */
export function listenTogether(listeners: ReadonlyArray<CellListener>): CellListener {
  return {
    cellStarted: (event) => {
      for (const listener of listeners) listener.cellStarted(event);
    },
    cellEnded: (event) => {
      for (const listener of listeners) listener.cellEnded(event);
    },
  };
}

/** Whether nobody wanted a cell to end so. */
export function isFault(reason: CellEndReason): reason is CellFaultReason {
  return CELL_FAULTS.some((fault) => fault === reason);
}

export function membersOf(workers: ReadonlyArray<PreparedWorker>): ReadonlyArray<CellMember> {
  return workers.map(({ account, key, name, version }) => ({
    account,
    worker: key,
    name,
    version: version.id,
  }));
}
