import type { AccountId } from "@atoll/control-plane/contract";
import type { CellSample } from "./cell-sample.ts";
import type { CellLimits, LimitBreach } from "./cell-limits.ts";

/**
 * What a new cell runs. Every path in the compiled config is relative to the cell's own directory:
 * `unix:<socket name>.sock` for what it listens on, `unix:kv.sock` and `unix:egress.sock` for what it
 * calls, `sites/<n>` for directories of static files. So one config serves any number of cells, and a
 * sandbox needs to bind only that directory.
 */
export interface CellSpec {
  /** Whose workers they are: the cells of an account share the processors as one. */
  readonly account: AccountId;
  /** Binary workerd config. */
  readonly config: Uint8Array;
  /** Names of the listening sockets in the config; the cell is ready when each of them listens. */
  readonly sockets: ReadonlyArray<string>;
  /** Directories that appear in the cell as `sites/0`, `sites/1`, …, read-only to it. */
  readonly sites: ReadonlyArray<string>;
  /** Sockets of the node that appear in the cell's directory under these names. */
  readonly services: Readonly<Record<string, string>>;
  readonly limits: CellLimits;
}

/** What a process used since it was given its config: what a zygote takes is nobody's. */
export interface CellUsage {
  readonly cpuNs: number;
  /** The most memory that it held at a time, without what it held as a zygote where the kernel counts it. */
  readonly memoryPeakBytes: number;
}

/** How a cell ended. `stderrTail` is the end of what it wrote, for logs and for the preflight. */
export interface CellExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderrTail: string;
  /** The limit for which it was ended. */
  readonly breach?: LimitBreach;
  readonly usage: CellUsage;
}

/**
 * Whether a cell ended because somebody wanted it to who is no part of it: then nothing that it ran was the
 * reason. It ends with zero only when it is asked to.
 */
export function wasKilled({ breach, code, signal }: CellExit): boolean {
  return breach === undefined && (signal === "SIGKILL" || code === 0);
}

/** A running workerd process. */
export interface Cell {
  readonly id: string;
  readonly pid: number;
  /** Milliseconds from the start of `CellHost.start` until every socket listened. */
  readonly startMs: number;
  /** What is known of its process: sampled a few times each second while any cell runs. */
  readonly sample: CellSample;
  /** As of the sample; after its end, in all. */
  usage(): CellUsage;
  /** Absolute path of a listening socket by its name in the config. */
  socketPath(name: string): string;
  /** Resolves once, when the process is gone and its directory is removed. Never rejects. */
  readonly exited: Promise<CellExit>;
  /** Asks the process to end, and ends it after `LIMITS.cellStopMs`; the same as `exited`. May be called twice. */
  stop(): Promise<CellExit>;
  /** Ends the process at once, whatever it is doing; the same as `exited`. May be called twice. */
  kill(): Promise<CellExit>;
}

/**
 * Starts cells. Rejections: `cell_failed` with the exit when the process ended before it listened (its
 * code is wrong), `cell_start_timeout` when it took longer than `LIMITS.cellStartMs`.
 */
export interface CellHost {
  start(spec: CellSpec): Promise<Cell>;
  /** Brings the samples of all cells up to date, for who can't wait for the next time. */
  sample(): void;
  /** Does ahead of need what cells with these directories of static files will take; forgets others. */
  keepReady(sites: Iterable<string>): void;
  /** Stops every cell and every waiting zygote. May be called twice. */
  dispose(): Promise<void>;
}
