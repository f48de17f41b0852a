import { setTimeout } from "node:timers/promises";
import { FairTurnstile } from "../config/fair-turnstile.ts";
import { LIMITS } from "../limits.ts";
import type { CellGroup } from "./cell-group.ts";

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
   * The same. Resolves with whether it is done: what is not after `LIMITS.besideStartMs` goes on, and whoever runs
   * it again meets it.
   */
  runSoon(group: CellGroup): Promise<boolean> {
    const late = setTimeout(LIMITS.besideStartMs, false, { ref: false });
    return Promise.race([this.run(group).then(() => true), late]);
  }

  /** Resolves when none of those is under way that are now. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#underWay.values());
  }

  isUnderWay(group: CellGroup): boolean {
    return this.#underWay.has(group);
  }
}
