import { PRESENT, type LoggedWrite, type Seen } from "./history.ts";

/** What a key held, from each of these revisions on. */
interface Versions {
  readonly from: number[];
  readonly values: Array<string | null>;
}

/** What each key held at each revision, as the origin's order has it. */
export class VersionOrder {
  readonly #keys = new Map<string, Versions>();
  readonly #revisionOf = new Map<string, number>();

  constructor(log: ReadonlyArray<LoggedWrite>) {
    for (const { revision, key, value } of log) {
      const versions = this.#keys.get(key) ?? { from: [0], values: [null] };
      this.#keys.set(key, versions);
      versions.from.push(revision);
      versions.values.push(value);
      if (value !== null) this.#revisionOf.set(value, revision);
    }
  }

  /** The revision that gave a key this value. */
  revisionOf(value: string): number | undefined {
    return this.#revisionOf.get(value);
  }

  /** The first revision behind `after` that deleted the key. */
  nextDelete(key: string, after: number): number | undefined {
    const versions = this.#keys.get(key);
    if (versions === undefined) return undefined;
    for (let index = versionAt(versions, after) + 1; index < versions.from.length; index += 1) {
      if (versions.values[index] === null) return versions.from[index];
    }
    return undefined;
  }

  /** The first revision from `floor` on at which all of this is so; `undefined` when there is none. */
  explain(seen: ReadonlyMap<string, Seen>, floor: number): number | undefined {
    let revision = floor;
    // Each key moves the revision to where it is so; when none does any more, it is so for all.
    for (let isMoved = true; isMoved;) {
      isMoved = false;
      for (const [key, what] of seen) {
        const next = this.#nextSeen(key, what, revision);
        if (next === undefined) return undefined;
        if (next > revision) [revision, isMoved] = [next, true];
      }
    }
    return revision;
  }

  /** What is held at the end. */
  final(): ReadonlyMap<string, string> {
    const held = new Map<string, string>();
    for (const [key, { values }] of this.#keys) {
      const value = values.at(-1);
      if (typeof value === "string") held.set(key, value);
    }
    return held;
  }

  #nextSeen(key: string, what: Seen, floor: number): number | undefined {
    const versions = this.#keys.get(key);
    if (versions === undefined) return what === null ? floor : undefined;
    const { from, values } = versions;
    const first = versionAt(versions, floor);
    for (let index = first; index < from.length; index += 1) {
      const isSo = what === PRESENT ? values[index] !== null : values[index] === what;
      if (isSo) return index === first ? floor : from[index];
      // A value comes once: one that was before is not to come.
      if (typeof what === "string" && (this.#revisionOf.get(what) ?? 0) < (from[index] ?? 0)) {
        return undefined;
      }
    }
    return undefined;
  }
}

/** Index of the version that holds at a revision. */
function versionAt({ from }: Versions, revision: number): number {
  let [low, high] = [0, from.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((from[middle] ?? 0) <= revision) low = middle;
    else high = middle - 1;
  }
  return low;
}
