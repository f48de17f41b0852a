import type { EdgeErrorCode } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { type PreparedWorker, withOthers } from "./prepared-worker.ts";

interface Limited extends Pick<PreparedWorker, "version"> {
  readonly other?: { readonly member: Limited };
}

/** Why a cell was ended that used more than it may, in the words of Workers' logs. */
export type LimitBreach = "exceededCpu" | "exceededMemory";

/** What a cell may use. */
export interface CellLimits {
  /** CPU time that one turn of its thread may take. */
  readonly cpuMs: number;
  /** Memory that its workers may hold on to, above what workerd itself takes. */
  readonly memoryBytes: number;
}

/** The memory of the whole process at which it is ended. */
export function processMemoryBytes({ memoryBytes }: CellLimits): number {
  return memoryBytes + LIMITS.idleCellMemoryBytes + LIMITS.cellGarbageBytes;
}

/** How a request fails that a breach broke off, or that comes while its worker rests for one. */
export const BREACH_CODES = {
  exceededCpu: "cpu_exceeded",
  exceededMemory: "memory_exceeded",
} as const satisfies Record<LimitBreach, EdgeErrorCode>;

const MIB = 1024 * 1024;

/**
 * The limits of a cell with these workers, which are of one account. They share its thread, so the longest
 * turn that any of them asks for is allowed to all.
 */
export function limitsOf(
  workers: ReadonlyArray<Limited & Pick<PreparedWorker, "settings">>,
): CellLimits {
  const asked = withOthers<Limited>(workers).map(
    ({ version }) => version.limits?.cpuMs ?? LIMITS.turnCpuMs,
  );
  return {
    cpuMs: Math.min(Math.max(...asked), LIMITS.turnCpuMsMax),
    memoryBytes: Math.max(...workers.map(({ settings }) => settings.memoryMib)) * MIB,
  };
}

/**
 * How many subrequests each request to a cell with these workers may make. A request may pass through all of
 * them, so it has what each of them may make.
 */
export function subrequestsOf(workers: ReadonlyArray<Limited>): number {
  const sum = withOthers(workers)
    .map(({ version }) => version.limits?.subrequests ?? LIMITS.subrequests)
    .reduce((total, each) => total + each, 0);
  return Math.min(sum, LIMITS.subrequestsMax);
}
