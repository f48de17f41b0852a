import type { AccountId } from "../contract/index.ts";
import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";

/** Bounds how many look-ups are under way, of all accounts and of each; more are refused as `busy`. */
export class LookupTurns {
  readonly #underWay = new Map<AccountId, number>();

  async take<Result>(account: AccountId, lookUp: () => Promise<Result>): Promise<Result> {
    const own = this.#underWay.get(account) ?? 0;
    const all = this.#underWay.values().reduce((sum, count) => sum + count, 0);
    if (own >= LIMITS.domainLookupsPerAccountMax || all >= LIMITS.domainLookupsMax) {
      throw new ControlPlaneError(
        "busy",
        `${own} DNS look-ups of your account and ${all} of all are under way, and the limits are ${LIMITS.domainLookupsPerAccountMax} and ${LIMITS.domainLookupsMax}: try again soon`,
      );
    }
    this.#underWay.set(account, own + 1);
    try {
      return await lookUp();
    } finally {
      const left = (this.#underWay.get(account) ?? 1) - 1;
      if (left === 0) this.#underWay.delete(account);
      else this.#underWay.set(account, left);
    }
  }
}
