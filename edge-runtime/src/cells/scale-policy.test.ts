import type { Binding } from "@atoll/control-plane/contract";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { cellsWanted, followLoad, mayHaveSeveralCells, NO_TREND } from "./scale-policy.ts";

/** The busy share of each cell; it ran all of that time. */
type Shares = ReadonlyArray<number>;

/** What is wanted after looks that found these. */
function wantedAfter(looks: ReadonlyArray<Shares>, inFlight = 100, cellsMax = 4): number {
  const cells = looks.at(-1)?.length ?? 0;
  const trend = looks
    .map((shares) => shares.map((share) => ({ busyShare: share, ranShare: share })))
    .reduce((trend, loads) => followLoad(trend, loads, 1), NO_TREND);
  return cellsWanted(trend, { cells, inFlight, cellsMax });
}

function times(count: number, shares: Shares): ReadonlyArray<Shares> {
  return Array.from({ length: count }, () => shares);
}

const { growLooks, shrinkLooks, fullCoreShare, spareCoreShare } = LIMITS;

test("scale policy: one cell more when all were full for a while, and not before", () => {
  expect(wantedAfter(times(growLooks - 1, [1]))).toBe(1);
  expect(wantedAfter(times(growLooks, [1]))).toBe(2);
  expect(wantedAfter(times(growLooks, [fullCoreShare]))).toBe(2);
  expect(wantedAfter(times(growLooks, [fullCoreShare - 0.01]))).toBe(1);
  expect(wantedAfter([...times(growLooks, [1]), [0.5], [1]])).toBe(1);
  expect(wantedAfter(times(growLooks, [1, 0.5]))).toBe(2);
  expect(wantedAfter(times(growLooks, [1, 1]))).toBe(3);
});

test("scale policy: no more for a request that nobody waits behind, nor above the most", () => {
  const looks = times(growLooks, [1, 1]);
  expect(wantedAfter(looks, 2)).toBe(2);
  expect(wantedAfter(looks, 3)).toBe(3);
  expect(wantedAfter(looks, 100, 2)).toBe(2);
});

test("scale policy: no more cells where there is no core to run them on", () => {
  const isFull = (ranShare: number, spareCores: number): boolean =>
    followLoad(NO_TREND, [{ busyShare: 1, ranShare }], spareCores).full === 1;
  const { grantedCoreShare, growSpareCores } = LIMITS;
  expect(isFull(grantedCoreShare, growSpareCores)).toBe(true);
  expect(isFull(grantedCoreShare - 0.01, growSpareCores)).toBe(false);
  expect(isFull(grantedCoreShare, growSpareCores - 0.01)).toBe(false);
});

test("scale policy: one cell fewer when the others could do it easily for a while", () => {
  expect(wantedAfter(times(shrinkLooks - 1, [0, 0]))).toBe(2);
  expect(wantedAfter(times(shrinkLooks, [0, 0]))).toBe(1);
  expect(wantedAfter(times(shrinkLooks, [spareCoreShare, 0]))).toBe(1);
  expect(wantedAfter(times(shrinkLooks, [spareCoreShare, 0.01]))).toBe(2);
  expect(wantedAfter(times(shrinkLooks, [0]))).toBe(1);
});

test("scale policy: within one and the most, by one at a time, and never both at once", () => {
  const someLooks = fc.integer({ min: 1, max: 4 }).chain((cells) =>
    fc.array(
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: cells, maxLength: cells }),
      {
        minLength: 1,
        maxLength: 30,
      },
    ),
  );
  fc.assert(
    fc.property(someLooks, fc.nat(20), (looks, inFlight) => {
      const cells = looks.at(-1)?.length ?? 0;
      const wanted = wantedAfter(looks, inFlight);
      expect(Math.abs(wanted - cells)).toBeLessThanOrEqual(1);
      expect(wanted).toBeGreaterThanOrEqual(1);
      expect(wanted).toBeLessThanOrEqual(4);
    }),
  );
});

test("scale policy: a load that made a group grow does not make it shrink at once", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 7 }), (cells) => {
      // The same work, on one cell more.
      const shares = Array.from({ length: cells + 1 }, () => (cells * fullCoreShare) / (cells + 1));
      expect(wantedAfter(times(shrinkLooks, shares))).toBe(cells + 1);
    }),
  );
});

test("scale policy: workers that keep nothing in their cell may have several", () => {
  const bindings: Binding[] = [
    { type: "plain_text", name: "TEXT", text: "" },
    { type: "secret_text", name: "SECRET" },
  ];
  expect(mayHaveSeveralCells([{ version: { bindings } }, { version: { bindings: [] } }])).toBe(
    true,
  );
});
