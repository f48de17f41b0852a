import fc from "fast-check";
import { expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { NamespaceId } from "../names.ts";
import { planExtents, type HeldExtent } from "./extent-plan.ts";

const IDS = Array.from({ length: 8 }, (_, index) => NamespaceId.parse(String(index).repeat(32)));
const bytes = fc.integer({ min: 0, max: 1_000 });
const held = fc
  .array(fc.record({ isPartial: fc.boolean(), least: bytes, removable: bytes, absent: bytes }), {
    maxLength: IDS.length,
  })
  .map((sizes) =>
    sizes.map(({ isPartial, least, removable, absent }, index): HeldExtent => {
      const namespace = IDS[index];
      if (namespace === undefined) throw new Error("more namespaces than ids");
      const size = { bytes: least + removable, removableBytes: removable, absentBytes: absent };
      return { namespace, isPartial, ...size };
    }),
  );
const budgets = fc.integer({ min: 0, max: 12_000 });

const valuesOf = (each: HeldExtent): number => each.removableBytes + each.absentBytes;

/** What all come to take with these namespaces partial. */
function bytesWith(all: ReadonlyArray<HeldExtent>, partial: ReadonlySet<NamespaceId>): number {
  return all.reduce((sum, each) => {
    const least = each.bytes - each.removableBytes;
    return sum + least + (partial.has(each.namespace) ? 0 : valuesOf(each));
  }, 0);
}

/** The same once values have left and come as decided. */
function settled(
  all: ReadonlyArray<HeldExtent>,
  partial: ReadonlySet<NamespaceId>,
): ReadonlyArray<HeldExtent> {
  return all.map((each) => {
    const isPartial = partial.has(each.namespace);
    const least = each.bytes - each.removableBytes;
    const values = valuesOf(each);
    const { namespace } = each;
    return isPartial
      ? { namespace, isPartial, bytes: least, removableBytes: 0, absentBytes: values }
      : { namespace, isPartial, bytes: least + values, removableBytes: values, absentBytes: 0 };
  });
}

test("extents: what is held comes to fit the budget, or has no value left to remove", () => {
  fc.assert(
    fc.property(held, budgets, (all, budget) => {
      const partial = planExtents(all, budget);
      const isLeast = all.every((each) => partial.has(each.namespace) || valuesOf(each) === 0);
      expect(bytesWith(all, partial) <= budget || isLeast).toBe(true);
    }),
  );
});

test("extents: no more namespaces become partial than must", () => {
  fc.assert(
    fc.property(held, budgets, (all, budget) => {
      const partial = planExtents(all, budget);
      const before = all.filter(({ isPartial }) => isPartial).map(({ namespace }) => namespace);
      for (const { namespace, isPartial } of all) {
        if (isPartial || !partial.has(namespace)) continue;
        // Against those that were partial, too: what becomes whole does so after what must go has gone.
        const without = new Set([...partial, ...before]);
        without.delete(namespace);
        expect(bytesWith(all, without)).toBeGreaterThan(budget);
      }
    }),
  );
});

test("extents: one becomes whole only with room to spare", () => {
  fc.assert(
    fc.property(held, budgets, (all, budget) => {
      const partial = planExtents(all, budget);
      const isBack = all.some(({ namespace, isPartial }) => isPartial && !partial.has(namespace));
      if (!isBack) return;
      expect(bytesWith(all, partial)).toBeLessThanOrEqual(budget * LIMITS.replicaWholeShare);
    }),
  );
});

test("extents: what was decided stays so while nothing changes, and once values have moved", () => {
  fc.assert(
    fc.property(held, budgets, (all, budget) => {
      const partial = planExtents(all, budget);
      const decided = all.map((each) => ({ ...each, isPartial: partial.has(each.namespace) }));
      expect(planExtents(decided, budget)).toEqual(partial);
      expect(planExtents(settled(all, partial), budget)).toEqual(partial);
    }),
  );
});

test("extents: one that became whole stays so until a fifth of the budget more is there", () => {
  fc.assert(
    fc.property(held, budgets, fc.double({ min: 0, max: 1, noNaN: true }), (all, budget, share) => {
      const partial = planExtents(all, budget);
      const back = all.find(({ namespace, isPartial }) => isPartial && !partial.has(namespace));
      if (back === undefined) return;
      const grown = settled(all, partial).map((each) => {
        if (each.namespace !== back.namespace) return each;
        const more = Math.floor(budget * (1 - LIMITS.replicaWholeShare) * share);
        return { ...each, bytes: each.bytes + more, removableBytes: each.removableBytes + more };
      });
      expect(planExtents(grown, budget).has(back.namespace)).toBe(false);
    }),
  );
});

test("extents: the order in which namespaces are given does not matter", () => {
  fc.assert(
    fc.property(held, budgets, (all, budget) => {
      expect(planExtents(all.toReversed(), budget)).toEqual(planExtents(all, budget));
    }),
  );
});

test("extents: the budget itself still fits, and a byte less does not", () => {
  const [namespace] = IDS;
  if (namespace === undefined) throw new Error("there are ids");
  const whole = { namespace, isPartial: false, bytes: 100, removableBytes: 80, absentBytes: 0 };
  expect(planExtents([whole], 100).size).toBe(0);
  expect(planExtents([whole], 99)).toEqual(new Set([namespace]));
  const partial = { namespace, isPartial: true, bytes: 20, removableBytes: 0, absentBytes: 80 };
  const needed = 100 / LIMITS.replicaWholeShare;
  expect(planExtents([partial], needed).size).toBe(0);
  expect(planExtents([partial], needed - 1)).toEqual(new Set([namespace]));
});
