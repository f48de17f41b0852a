import type { VersionId, WorkerKey } from "@atoll/control-plane/contract";
import type { CellUsage } from "./cell-host.ts";

/** One worker of a metered cell. */
export interface MeteredMember {
  readonly worker: WorkerKey;
  readonly version: VersionId;
  /** It has no code. */
  readonly isStatic?: boolean;
  /** Where it listens; absent of a cell that never did. */
  readonly socketPath?: string;
}

/** What left a cell over the node's way out, and came back. */
export interface SubrequestUsage {
  readonly requests: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
}

/** A cell whose use of the node is counted. Both functions tell all since its start, also after its end. */
export interface MeteredCell {
  readonly members: ReadonlyArray<MeteredMember>;
  readonly usage: () => CellUsage;
  readonly subrequests: () => SubrequestUsage;
  /** Resolves when nothing is added any more. */
  readonly ended: Promise<unknown>;
}

/** Counts what cells use. */
export interface CellMeter {
  /** Counts a cell from its start to its end. */
  follow(cell: MeteredCell): void;
}
