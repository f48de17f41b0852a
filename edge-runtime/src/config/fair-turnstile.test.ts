import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import { FairTurnstile } from "./fair-turnstile.ts";

/** Tasks that end when the test says so, in the order in which they began. */
function tasksOf(turnstile: FairTurnstile) {
  const begun: string[] = [];
  const ends = new Map<string, (error?: Error) => void>();
  const run = (owner: string, name: string): Promise<void> =>
    turnstile.run(owner, () => {
      begun.push(name);
      return new Promise((resolve, reject) =>
        ends.set(name, (error) => (error === undefined ? resolve() : reject(error))),
      );
    });
  const end = (name: string, error?: Error): void => ends.get(name)?.(error);
  return { begun, run, end };
}

test("fair turnstile: however many somebody brings, another one's is next", async () => {
  const { begun, run, end } = tasksOf(new FairTurnstile({ runningMax: 2 }));
  const many = ["a1", "a2", "a3", "a4"].map((name) => run("a", name));
  const other = run("b", "b1");
  await setImmediate();
  expect(begun).toEqual(["a1", "a2"]);
  end("a1");
  await many[0];
  await setImmediate();
  expect(begun).toEqual(["a1", "a2", "b1"]);
  end("a2");
  await many[1];
  await setImmediate();
  expect(begun).toEqual(["a1", "a2", "b1", "a3"]);
  for (const name of ["b1", "a3"]) end(name);
  await Promise.all([other, many[2]]);
  await setImmediate();
  end("a4");
  await many[3];
});

test("fair turnstile: one alone has all places, in its order, also after a failure", async () => {
  const { begun, run, end } = tasksOf(new FairTurnstile({ runningMax: 1 }));
  const first = run("a", "a1");
  const second = run("a", "a2");
  await setImmediate();
  end("a1", new Error("failed"));
  await expect(first).rejects.toThrow("failed");
  await setImmediate();
  end("a2");
  await second;
  const third = run("a", "a3");
  await setImmediate();
  expect(begun).toEqual(["a1", "a2", "a3"]);
  end("a3");
  await third;
});

test("fair turnstile: where one can't have all places, others wait for none of its tasks", async () => {
  const { begun, run, end } = tasksOf(new FairTurnstile({ runningMax: 3, ownerMax: 2 }));
  const many = ["a1", "a2", "a3"].map((name) => run("a", name));
  const other = run("b", "b1");
  await setImmediate();
  expect(begun).toEqual(["a1", "a2", "b1"]);
  end("a2");
  await setImmediate();
  expect(begun).toEqual(["a1", "a2", "b1", "a3"]);
  for (const name of begun) end(name);
  await Promise.all([...many, other]);
});
