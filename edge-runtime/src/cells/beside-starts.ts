import { setTimeout } from "node:timers/promises";
import type { Logger } from "pino";
import { FairTurnstile } from "../config/fair-turnstile.ts";
import { LIMITS } from "../limits.ts";
import type { CellGroup } from "./cell-group.ts";
import { type Attempt, reasonOf } from "./group-attempt.ts";

/**
 * Starts groups that are to take over from others, a few at a time. Accounts take turns, and nobody waits for a
 * start that takes long: what one account deploys must not hold back the others' deploys.
 */
export class BesideStarts {
  readonly #turnstile = new FairTurnstile({
    runningMax: LIMITS.cellStartsMax,
    ownerMax: LIMITS.cellStartsOfAccountMax,
  });
  readonly #underWay = new Map<CellGroup, Promise<void>>();
  readonly #log: Logger;

  constructor({ log }: { readonly log: Logger }) {
    this.#log = log;
  }

  /** Makes a group warm and probes it. Rejected as `CellGroup.warmUp` is, and then the group is cold again. */
  run(group: CellGroup): Promise<void> {
    const known = this.#underWay.get(group);
    if (known !== undefined) return known;
    const starting = this.#turnstile
      .run(group.account, () => group.warmUp())
      .catch((error: unknown) => {
        // It may have started and not have passed the probe.
        group.sleep("unfit");
        throw error;
      })
      .finally(() => this.#underWay.delete(group));
    this.#underWay.set(group, starting);
    return starting;
  }

  /**
   * Starts the group of an attempt. One that is not done after `LIMITS.besideStartMs` has failed for now: it goes on,
   * and whoever tries again meets it.
   */
  async attempt(attempt: Attempt): Promise<Attempt> {
    if (attempt.kind === "failed") return attempt;
    const { group, workers } = attempt;
    try {
      const late = setTimeout(LIMITS.besideStartMs, false, { ref: false });
      if (await Promise.race([this.run(group).then(() => true), late])) return attempt;
      const reason = `not started after ${LIMITS.besideStartMs} ms: its start goes on, and is looked at again soon`;
      this.#log.warn({ workers: workers.map(({ key }) => key), reason }, "a start takes long");
      return { kind: "failed", workers, reason, group };
    } catch (error) {
      this.#log.error({ err: error }, "a new version did not start beside the old one");
      return { kind: "failed", workers, reason: reasonOf(error), group };
    }
  }

  /** Resolves when none of those is under way that are now. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#underWay.values());
  }

  isUnderWay(group: CellGroup): boolean {
    return this.#underWay.has(group);
  }
}
