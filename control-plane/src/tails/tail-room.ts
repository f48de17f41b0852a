import { accountOfKey, TAILS_MAX, type WorkerKey } from "../contract/index.ts";
import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { FleetTail } from "./fleet-tails.ts";

/**
 * Throws `tails_exceeded` when a worker can have no further tail. Control planes that open some at the same
 * moment do not see each other's.
 */
export function requireRoom(all: ReadonlyArray<FleetTail>, worker: WorkerKey): void {
  const account = accountOfKey(worker);
  const refusals = [
    [all.filter(({ tail }) => tail.worker === worker), LIMITS.tailsPerWorkerMax, "this worker"],
    [
      all.filter(({ tail }) => accountOfKey(tail.worker) === account),
      LIMITS.tailsPerAccountMax,
      "your account",
    ],
    [all, TAILS_MAX, "the fleet"],
  ] as const;
  for (const [{ length }, max, whose] of refusals) {
    if (length < max) continue;
    throw new ControlPlaneError(
      "tails_exceeded",
      `There are ${length} tails of ${whose} already, the limit is ${max}: end one of them`,
    );
  }
}
