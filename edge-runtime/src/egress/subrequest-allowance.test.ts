import fc from "fast-check";
import { expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { SubrequestAllowance } from "./subrequest-allowance.ts";

/** An allowance of 50 for each request, with an ingress and a clock that the test moves. */
function setUp(): {
  allowance: SubrequestAllowance;
  ingress: { begun: number; inFlight: number };
  clock: { nowMs: number };
  asked: () => number;
  /** How many of so many subrequests may leave. */
  taken: (count: number) => Promise<number>;
} {
  const ingress = { begun: 0, inFlight: 0 };
  const clock = { nowMs: 0 };
  let questions = 0;
  const allowance = new SubrequestAllowance({
    perRequest: 50,
    requests: async () => {
      questions += 1;
      return { ...ingress };
    },
    nowMs: () => clock.nowMs,
  });
  const taken = async (count: number): Promise<number> => {
    let passed = 0;
    for (let each = 0; each < count; each += 1) {
      await allowance.take().then(
        () => (passed += 1),
        () => undefined,
      );
    }
    return passed;
  };
  return { allowance, ingress, clock, asked: () => questions, taken };
}

function begin(ingress: { begun: number; inFlight: number }, count = 1): void {
  ingress.begun += count;
  ingress.inFlight += count;
}

test.each([
  [49, 49],
  [50, 50],
  [51, 50],
])("subrequest allowance: of %d subrequests of a request, %d leave", async (made, passed) => {
  const { ingress, taken } = setUp();
  begin(ingress);
  expect(await taken(made)).toBe(passed);
});

test("subrequest allowance: what is refused says which limit it met", async () => {
  const { allowance, ingress, taken } = setUp();
  begin(ingress);
  await taken(50);
  await expect(allowance.take()).rejects.toMatchObject({
    code: "subrequests_exceeded",
    message: "Too many subrequests: the limit is 50 for each request",
  });
});

test("subrequest allowance: requests one after another each get their own", async () => {
  const { ingress, taken } = setUp();
  for (let request = 0; request < 20; request += 1) {
    begin(ingress);
    expect(await taken(51)).toBe(50);
    ingress.inFlight -= 1;
  }
});

test("subrequest allowance: what a request does after its answer is its own", async () => {
  const { ingress, clock, taken } = setUp();
  begin(ingress);
  expect(await taken(10)).toBe(10);
  ingress.inFlight -= 1;
  clock.nowMs += LIMITS.waitUntilMs - 1;
  expect(await taken(41)).toBe(40);
});

test("subrequest allowance: what long-gone requests left is gone with them", async () => {
  const { ingress, clock, taken } = setUp();
  begin(ingress, 1_000);
  await taken(1);
  ingress.inFlight = 0;
  for (let window = 0; window < 2; window += 1) {
    clock.nowMs += LIMITS.waitUntilMs;
    await taken(1);
  }
  begin(ingress);
  expect(await taken(1_000)).toBe(50);
});

test("subrequest allowance: an ingress that counts anew takes nothing from the next requests", async () => {
  const { ingress, clock, taken } = setUp();
  for (let life = 0; life < 3; life += 1) {
    Object.assign(ingress, { begun: 0, inFlight: 0 });
    for (let request = 0; request < 20; request += 1) {
      begin(ingress);
      expect(await taken(51)).toBe(50);
      ingress.inFlight -= 1;
    }
    clock.nowMs += LIMITS.waitUntilMs;
  }
});

test("subrequest allowance: a steady worker asks rarely", async () => {
  const { ingress, asked, taken } = setUp();
  for (let request = 0; request < 10_000; request += 1) {
    begin(ingress);
    expect(await taken(2)).toBe(2);
    ingress.inFlight -= 1;
  }
  expect(asked()).toBeLessThan(20);
});

test("subrequest allowance: no request is refused what is its own, and all never exceed theirs", async () => {
  const step = fc.oneof(
    fc.constant({ kind: "begin" as const }),
    fc.record({ kind: fc.constant("end" as const), which: fc.nat(9) }),
    fc.record({ kind: fc.constant("take" as const), which: fc.nat(9), count: fc.nat(60) }),
    fc.record({ kind: fc.constant("wait" as const), ms: fc.nat(2 * LIMITS.waitUntilMs) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const { ingress, clock, taken } = setUp();
      const open: { used: number }[] = [];
      const refused: number[] = [];
      let passed = 0;
      for (const each of steps) {
        if (each.kind === "begin") {
          begin(ingress);
          open.push({ used: 0 });
        } else if (each.kind === "wait") clock.nowMs += each.ms;
        else if (open.length > 0 && each.kind === "end") {
          open.splice(each.which % open.length, 1);
          ingress.inFlight -= 1;
        } else if (open.length > 0 && each.kind === "take") {
          const request = open[each.which % open.length] ?? { used: 0 };
          const own = Math.min(each.count, 50 - request.used);
          const left = await taken(own);
          if (left < own) refused.push(own - left);
          request.used += own;
          passed += left;
        }
      }
      expect(refused).toEqual([]);
      expect(passed + (await taken(50 * ingress.begun + 1))).toBeLessThanOrEqual(
        50 * ingress.begun,
      );
    }),
    { numRuns: 300 },
  );
});
