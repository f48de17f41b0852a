import { setTimeout as wait } from "node:timers/promises";

// Short against every deadline in use, long against the cost of looking.
const POLL_MS = 25;
// For hangs, not for speed: several whole Atolls and wranglers may share the machine's two cores.
const DEADLINE_MS = 60_000;

/**
 * Repeats `look` until it returns something other than `undefined`, `false` or a rejection, and resolves
 * with that. Rejected, with the last failure as the cause, when `deadlineMs` have passed.
 */
export async function eventually<Result>(
  look: () => Promise<Result | undefined | false> | Result | undefined | false,
  options: { readonly what: string; readonly deadlineMs?: number },
): Promise<Result> {
  const deadlineMs = options.deadlineMs ?? DEADLINE_MS;
  const endsAt = performance.now() + deadlineMs;
  let cause: unknown;
  while (performance.now() < endsAt) {
    try {
      const result = await look();
      if (result !== undefined && result !== false) return result;
      cause = undefined;
    } catch (error) {
      cause = error;
    }
    await wait(POLL_MS);
  }
  throw new Error(`not within ${deadlineMs} ms: ${options.what}`, { cause });
}
