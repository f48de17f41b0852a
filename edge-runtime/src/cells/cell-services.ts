import type { WorkerKey } from "@atoll/control-plane/contract";
import type { ServiceSocket, TAIL_SOCKET } from "../config/cell-interface.ts";
import type { SubrequestBound } from "../egress/egress-proxy.ts";
import type { SubrequestUsage } from "./cell-meter.ts";

/** The node's sockets that one cell may call. */
export interface OpenCellServices {
  /** Absolute path of each. */
  readonly sockets: Readonly<
    Record<ServiceSocket, string> & Partial<Record<typeof TAIL_SOCKET, string>>
  >;
  /** What the cell has sent out so far. */
  subrequestUsage(): SubrequestUsage;
  /** Gives back what is the cell's alone, such as its way out. Called once, after the cell ended. */
  close(): Promise<void>;
}

/** A cell that is about to start. */
export interface ServedCell {
  /** They share an account. */
  readonly workers: ReadonlyArray<WorkerKey>;
  readonly subrequests: SubrequestBound;
  /** Somebody watches one of them. */
  readonly isWatched: boolean;
}

/**
 * Where cells find the node. A socket tells which cell calls it: CONNECT carries no header of ours, so
 * the way out is a socket of its own for each cell.
 */
export interface CellServices {
  /** Opens the sockets for a new cell. */
  open(cell: ServedCell): Promise<OpenCellServices>;
}
