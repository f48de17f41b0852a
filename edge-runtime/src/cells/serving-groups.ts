import { previewNameOf, type TargetKey, workerOfTarget } from "../ingress/target-key.ts";
import type { CellGroup } from "./cell-group.ts";

/** Which group serves each target. Replaced, never changed; a group lives as long as it is in here. */
export class ServingGroups {
  readonly #groupOf: ReadonlyMap<TargetKey, CellGroup>;

  constructor(groupOf: ReadonlyMap<TargetKey, CellGroup> = new Map()) {
    this.#groupOf = groupOf;
  }

  /** These groups for these targets, and for all others those in here. */
  with(groupOf: ReadonlyMap<TargetKey, CellGroup>): ServingGroups {
    return new ServingGroups(new Map([...this.#groupOf, ...groupOf]));
  }

  get targets(): ReadonlyArray<TargetKey> {
    return [...this.#groupOf.keys()];
  }

  get all(): ReadonlySet<CellGroup> {
    return new Set(this.#groupOf.values());
  }

  /** The group that a target has of its own. */
  ownOf(target: TargetKey): CellGroup | undefined {
    return this.#groupOf.get(target);
  }

  /** Who answers for a target now: for a version without a group of its own that is its worker. */
  groupFor(target: TargetKey): CellGroup | undefined {
    const own = this.#groupOf.get(target);
    if (own !== undefined || previewNameOf(target) !== undefined) return own;
    return this.#groupOf.get(workerOfTarget(target));
  }

  targetsOf(group: CellGroup): ReadonlyArray<TargetKey> {
    return [...this.#groupOf].flatMap(([target, each]) => (each === group ? [target] : []));
  }
}
