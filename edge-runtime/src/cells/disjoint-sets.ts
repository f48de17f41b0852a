/** Disjoint sets of keys; the root of a set is its smallest key, so it does not depend on the order. */
export class DisjointSets {
  readonly #parents: Map<string, string>;

  constructor(keys: ReadonlyArray<string>) {
    this.#parents = new Map(keys.map((key) => [key, key]));
  }

  /** Unites the sets of two keys; a key that is in no set is left out. */
  join(a: string, b: string): void {
    if (!this.#parents.has(a) || !this.#parents.has(b)) return;
    const [low, high] = [this.rootOf(a), this.rootOf(b)].toSorted();
    this.#parents.set(high as string, low as string);
  }

  rootOf(key: string): string {
    let root = key;
    for (let parent = this.#parents.get(root); parent !== undefined && parent !== root;) {
      root = parent;
      parent = this.#parents.get(root);
    }
    // Paths stay short because what was looked up points to the root from now on.
    this.#parents.set(key, root);
    return root;
  }
}
