import type { CellEndReason } from "@atoll/control-plane/contract";
import type { Logger } from "pino";
import { type CellEnded, type CellListener, type CellStarted, isFault } from "./cell-events.ts";

const MESSAGES: Readonly<Record<CellEndReason, string>> = {
  exceededCpu: "a cell exceeded its limit of CPU time and was ended",
  exceededMemory: "a cell exceeded its limit of memory and was ended",
  crashed: "a cell ended by itself",
  killed: "a cell was killed by somebody outside of the node",
  startFailed: "a cell did not start",
  idle: "a cell that nobody used was stopped",
  evicted: "a cell was stopped to make room for others",
  surplus: "a cell was stopped because fewer are enough",
  replaced: "a cell was stopped because another version took over",
  removed: "a cell was stopped because its workers are no longer wanted here",
  unfit: "a cell was stopped because it did not answer before it was to take over",
  stopped: "a cell was stopped with the node",
};

/** Writes each start and end of a cell to the log, ends that nobody wanted with all that is known. */
export class CellLog implements CellListener {
  readonly #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
  }

  cellStarted({ pid, members, startMs }: CellStarted): void {
    this.#log.info({ workers: members.map(keyOf), pid, ms: startMs }, "a cell started");
  }

  cellEnded({ members, reason, pid, exit }: CellEnded): void {
    const facts = { workers: members.map(keyOf), reason, pid };
    if (isFault(reason)) this.#log.error({ ...facts, ...exit }, MESSAGES[reason]);
    else this.#log.info(facts, MESSAGES[reason]);
  }
}

function keyOf({ worker }: CellEnded["members"][number]): string {
  return worker;
}
