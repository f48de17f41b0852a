import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import { afterEach, beforeEach, expect, test } from "vitest";
import { sampleModule, says } from "../config/sample-version.ts";
import { RoutedSupervisor } from "./routed-supervisor.ts";

let cells: RoutedSupervisor;
beforeEach(async () => {
  cells = await RoutedSupervisor.open();
});
afterEach(() => cells.close());

test("deploys: redeploys under load fail no request, and none is cold", async () => {
  await cells.supervisor.apply([says("0")]);
  const { key } = says("0");
  await cells.ask(says("0"));
  const done = new AbortController();
  const answers: Array<{ readonly body: string; readonly isCold: boolean }> = [];
  const load = Array.from({ length: 4 }, async () => {
    while (!done.signal.aborted) {
      const answer = await cells.request(key);
      expect(answer.status).toBe(200);
      answers.push(answer);
    }
  });
  for (let round = 1; round <= 5; round += 1) {
    expect(await cells.supervisor.apply([says(`${round}`)])).toEqual([]);
    // From the moment the apply resolved, nothing of the old version is seen.
    expect(await cells.ask(says(""))).toBe(`${round}`);
  }
  await waitFor(() => expect(answers.at(-1)?.body).toBe("5"));
  done.abort();
  await Promise.all(load);
  expect(answers.filter((answer) => answer.isCold)).toEqual([]);
  await waitFor(() => expect(cells.supervisor.status()).toHaveLength(1));
});

test("deploys: what did not change is not touched, and what left is stopped", async () => {
  const a = says("a", { name: "a" });
  const b = says("b", { name: "b" });
  await cells.supervisor.apply([a, b]);
  await Promise.all([cells.ask(a), cells.ask(b)]);
  const before = cells.routes.published.get(a.key);
  await cells.supervisor.apply([a]);
  expect(cells.routes.published.get(a.key)).toEqual(before);
  expect(cells.routes.published.has(b.key)).toBe(false);
  await expect(cells.supervisor.activate(b.key)).rejects.toMatchObject({ code: "worker_unknown" });
  await waitFor(() => expect(cells.openServices).toBe(1));
});

test("deploys: a version that does not start leaves the old one serving", async () => {
  const good = says("good");
  const other = says("other", { name: "other" });
  await cells.supervisor.apply([good, other]);
  await cells.ask(good);
  const bad = sampleModule(`throw new Error("broken on arrival");`);
  const changed = says("changed", { name: "other" });
  expect(await cells.supervisor.apply([bad, changed])).toEqual([
    {
      worker: bad.key,
      version: bad.version.id,
      reason: expect.stringContaining("broken on arrival") as string,
    },
  ]);
  expect(await cells.ask(good)).toBe("good");
  expect(await cells.ask(other)).toBe("changed");
});

test("deploys: a version that cannot be configured fails only its own group", async () => {
  const alone = says("alone", { name: "alone" });
  const lost = says("lost", {
    name: "lost",
    bindings: [{ type: "assets", name: "FILES" }],
  });
  const failures = await cells.supervisor.apply([alone, lost]);
  expect(failures).toMatchObject([{ worker: lost.key }]);
  expect(failures[0]?.reason).toContain("FILES");
  expect(await cells.ask(alone)).toBe("alone");
});

test("deploys: a version that failed is tried again by a later apply, and rests between", async () => {
  const other = says("other", { name: "other" });
  await cells.supervisor.apply([says("good"), other]);
  await cells.ask(says(""));
  const bad = sampleModule(`throw new Error("broken");`);
  const reasons: string[] = [];
  for (let round = 0; round < 8; round += 1) {
    const [failure] = await cells.supervisor.apply([bad, other]);
    reasons.push(failure?.reason ?? "");
  }
  expect(reasons[0]).toContain("broken");
  expect(reasons.at(-1)).toContain("rests for");
  expect(await cells.ask(says(""))).toBe("good");
});

test("deploys: a newer state replaces the one that waits", async () => {
  const first = cells.supervisor.apply([says("1")]);
  const second = cells.supervisor.apply([says("2")]);
  const third = cells.supervisor.apply([says("3")]);
  await expect(second).rejects.toMatchObject({ code: "superseded" });
  await Promise.all([first, third]);
  expect(await cells.ask(says(""))).toBe("3");
});
