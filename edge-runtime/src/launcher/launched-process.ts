import type { Socket } from "node:net";
import type { ProcessEnd } from "./launcher-messages.ts";

/** A process that a launcher has started for us, as if it were a child of ours. */
export interface LaunchedProcess {
  readonly pid: number;
  /**
   * The other ends of its descriptors; `undefined` for one that was given bytes. Errors of theirs need nobody who
   * listens: the end of the process says as much.
   */
  readonly sockets: ReadonlyArray<Socket | undefined>;
  /** Resolves when the process is gone and everything that it wrote was read. Never rejects. */
  readonly ended: Promise<ProcessEnd>;
  /** Sends a signal to the process, or to another one that lives no longer than it. Does nothing once it is gone. */
  signal(signal: NodeJS.Signals, pid?: number): void;
}
