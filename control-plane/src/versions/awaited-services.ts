import type { AccountId, WorkerName } from "../contract/index.ts";
import { LIMITS } from "../limits.ts";

/** A worker that could not be deployed, because it is bound to one that does not exist. */
interface Refusal {
  readonly account: AccountId;
  readonly worker: WorkerName;
  readonly missing: WorkerName;
}

/**
 * Which workers wait for which others. Of two that are bound to each other, either one has to come first: it is
 * refused, and names the other, which may then be deployed although the first one is still missing. In memory:
 * what is forgotten is refused once more.
 */
export class AwaitedServices {
  /** The oldest first. */
  readonly #refusals = new Set<string>();

  note(refusal: Refusal): void {
    const key = keyOf(refusal);
    this.#refusals.delete(key);
    this.#refusals.add(key);
    const [oldest] = this.#refusals;
    if (this.#refusals.size > LIMITS.awaitedServicesMax && oldest !== undefined) {
      this.#refusals.delete(oldest);
    }
  }

  has(refusal: Refusal): boolean {
    return this.#refusals.has(keyOf(refusal));
  }
}

function keyOf({ account, worker, missing }: Refusal): string {
  return `${account}/${worker} ${missing}`;
}
