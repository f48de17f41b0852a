import { vi } from "vitest";

// For hangs, not for speed: the tests' own processes and whatever else a machine runs share its cores.
const DEADLINE_MS = 45_000;
// A look costs next to nothing, and a test may make hundreds.
const POLL_MS = 5;

/**
 * Repeats `look` until it is not rejected, and resolves with what it returned. Rejected with its last failure
 * when that takes longer than anything does that is not stuck.
 */
export function waitFor<Result>(look: () => Result | Promise<Result>): Promise<Result> {
  return vi.waitFor(look, { timeout: DEADLINE_MS, interval: POLL_MS });
}
