import type { Random } from "@atoll/kv-store/test-support/random";

/** What a client does, as the worker takes it. */
export type Call =
  | readonly [kind: "put", key: string, text: string]
  | readonly [kind: "delete", key: string]
  | readonly [kind: "get", keys: ReadonlyArray<string>]
  | readonly [kind: "list", prefix: string];

/** Keys that every client writes and reads. */
export const HOT_KEYS: ReadonlyArray<string> = Array.from(
  { length: 40 },
  (_, index) => `hot/${index}`,
);
const HOT_PREFIX = "hot/";
const BULK_KEYS = 4;
// Over the inline limit: such a value travels by hash.
const LARGE_CHARACTERS = 70_000;
const SMALL_CHARACTERS_MAX = 200;

/** Says what a client does next; each text that it puts is like no other. */
export class CallSource {
  readonly #random: Random;
  readonly #name: string;
  #count = 0;

  constructor(name: string, random: Random) {
    this.#name = name;
    this.#random = random;
  }

  next(): Call {
    const random = this.#random;
    const dice = random.next();
    if (dice < 0.14) return ["put", random.pick(HOT_KEYS), this.#text()];
    // Written once, and looked for at the end.
    if (dice < 0.2) return ["put", `once/${this.#name}/${this.#count}`, this.#text()];
    if (dice < 0.23) return ["delete", random.pick(HOT_KEYS)];
    if (dice < 0.28) return ["list", HOT_PREFIX];
    if (dice < 0.4) return ["get", this.#hotKeys(BULK_KEYS)];
    return ["get", this.#hotKeys(1)];
  }

  #hotKeys(count: number): ReadonlyArray<string> {
    return [...new Set(Array.from({ length: count }, () => this.#random.pick(HOT_KEYS)))];
  }

  #text(): string {
    this.#count += 1;
    const isLarge = this.#random.chance(0.005);
    const size = isLarge ? LARGE_CHARACTERS : this.#random.below(SMALL_CHARACTERS_MAX);
    return `${this.#name}.${this.#count} ${"x".repeat(size)}`;
  }
}

/** Stands for a text in the history: its own name, and how long it is, so that a part of it is another. */
export function tokenOf(text: string): string {
  return `${text.split(" ", 1)[0]}:${text.length}`;
}
