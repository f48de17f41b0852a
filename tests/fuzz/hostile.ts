import fc from "fast-check";

/** What a text becomes in the hands of somebody who looks for a way in. */
export const HOSTILE_TEXTS = fc.oneof(
  fc.constantFrom(
    "",
    "\0",
    "a\0b",
    "\ud800",
    "a\udfffb",
    "__proto__",
    "constructor",
    "..",
    "../../../etc/passwd",
    "..\\..\\a",
    "%00",
    "%2e%2e%2f",
    "' OR 1=1 --",
    "\u202e\u0000\ufeff",
    "\r\nx-injected: 1",
    "<script>alert(1)</script>",
    "${jndi:ldap://127.0.0.1/a}",
    "😀".repeat(300),
    "NaN",
    "-0",
    "1e400",
    "9007199254740993",
    "2026-02-30T25:61:61Z",
  ),
  fc.string({ unit: "binary", maxLength: 30 }),
  fc.integer({ min: 200, max: 20_000 }).map((length) => "x".repeat(length)),
);

/** Values of every type, at the ends of what they can be. */
export const HOSTILE_VALUES: fc.Arbitrary<unknown> = fc.oneof(
  HOSTILE_TEXTS,
  fc.constantFrom<unknown>(
    null,
    true,
    false,
    0,
    -0,
    -1,
    0.5,
    1e308,
    -1e308,
    5e-324,
    2 ** 53,
    2 ** 63,
    -(2 ** 31) - 1,
    [],
    {},
    [[]],
    [null],
  ),
  fc.constantFrom(100, 1_000, 10_000).map((depth) => new Deep(depth)),
  fc.constantFrom(100, 3_000).map((count) => Array.from({ length: count }, (_, index) => index)),
  fc.jsonValue({ maxDepth: 2 }),
);

/** Stands in a value for arrays in each other, which are written without recursion. */
class Deep {
  readonly depth: number;

  constructor(depth: number) {
    this.depth = depth;
  }

  toJSON(): string {
    return `${DEEP}${this.depth}`;
  }
}

const DEEP = "deep arrays: ";

/** JSON of a value with hostile parts. Keys such as `__proto__` are written as they are. */
export function hostileJson(value: unknown): string {
  const json = JSON.stringify(value) ?? "undefined";
  return json.replaceAll(new RegExp(`"${DEEP}(\\d+)"`, "g"), (_, depth: string) => {
    const count = Number(depth);
    return "[".repeat(count) + "]".repeat(count);
  });
}

/** How a value is changed in one place; numbers choose the place among those that there are. */
export interface Mutation {
  readonly kind: "replace" | "remove" | "add" | "repeat" | "wrap";
  readonly place: number;
  readonly name: string;
  readonly value: unknown;
}

export const MUTATIONS: fc.Arbitrary<Mutation> = fc.record({
  kind: fc.constantFrom("replace", "replace", "remove", "add", "repeat", "wrap"),
  place: fc.nat(1_000),
  name: HOSTILE_TEXTS,
  value: HOSTILE_VALUES,
});

/** The value with one place of it changed. */
export function mutate(value: unknown, mutation: Mutation): unknown {
  const places = countPlaces(value);
  return changeAt(value, mutation.place % places, mutation);
}

function countPlaces(value: unknown): number {
  return 1 + childrenOf(value).reduce((sum, [, child]) => sum + countPlaces(child), 0);
}

function changeAt(value: unknown, place: number, mutation: Mutation): unknown {
  if (place === 0) return changed(value, mutation);
  let before = 1;
  for (const [key, child] of childrenOf(value)) {
    const places = countPlaces(child);
    if (place < before + places) {
      const isRemoved = place === before && mutation.kind === "remove";
      return withChild(
        value,
        key,
        isRemoved ? undefined : changeAt(child, place - before, mutation),
      );
    }
    before += places;
  }
  return value;
}

function changed(value: unknown, { kind, name, value: hostile }: Mutation): unknown {
  switch (kind) {
    case "replace":
    case "remove":
      return hostile;
    case "wrap":
      return [value];
    case "repeat":
      return Array.isArray(value) ? [...value, ...value] : [value, value];
    case "add":
      if (Array.isArray(value)) return [...value, hostile];
      if (typeof value !== "object" || value === null || value instanceof Deep) return hostile;
      return Object.fromEntries([...Object.entries(value), [name, hostile]]);
  }
}

function childrenOf(value: unknown): ReadonlyArray<readonly [string, unknown]> {
  if (typeof value !== "object" || value === null || value instanceof Deep) return [];
  return Object.entries(value);
}

/** `undefined` takes the child away. */
function withChild(value: unknown, key: string, child: unknown): unknown {
  if (Array.isArray(value)) {
    return value.flatMap((item: unknown, index) => {
      if (String(index) !== key) return [item];
      return child === undefined ? [] : [child];
    });
  }
  return Object.fromEntries(
    Object.entries(value as object).flatMap(([name, item]) => {
      if (name !== key) return [[name, item]];
      return child === undefined ? [] : [[name, child]];
    }),
  );
}
