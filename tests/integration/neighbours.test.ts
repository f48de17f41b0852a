import { setTimeout as wait } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startAtoll, type TestAtoll } from "../support/atoll.ts";
import { OFFENDER_SOURCE } from "../support/offender.ts";
import { serveEverywhere } from "../support/serving.ts";
import { upload } from "../support/upload.ts";

const NEIGHBOURS = Array.from({ length: 18 }, (_, index) => `neighbour-${index}`);
const OFFENCES = { looper: "/loop", grower: "/grow" };
const OFFENDERS = Object.keys(OFFENCES);
const TROUBLE_MS = 15_000;
const PAUSE_MS = 20;

let atoll: TestAtoll;
beforeAll(async () => {
  atoll = await startAtoll();
  for (const name of [...NEIGHBOURS, ...OFFENDERS]) {
    const answer = await upload(atoll, { name, source: OFFENDER_SOURCE });
    expect(answer.status, answer.body).toBe(200);
  }
  for (const name of [...NEIGHBOURS, ...OFFENDERS]) {
    await serveEverywhere(atoll, name, ({ body }) => body === "fine");
  }
}, 120_000);
afterAll(() => atoll.stop());

test("neighbours: while one tenant loops and one takes memory, nobody else sees an error", async () => {
  const done = new AbortController();
  const offences: string[] = [];
  const offend = Object.entries(OFFENCES).map(async ([name, path]) => {
    while (!done.signal.aborted) {
      const { status, headers } = await atoll.get("fra", `${name}.localhost`, path);
      offences.push(`${name} ${status} ${String(headers["x-atoll-error"])}`);
      await wait(PAUSE_MS);
    }
  });
  let served = 0;
  const failures: string[] = [];
  const serve = NEIGHBOURS.map(async (name) => {
    while (!done.signal.aborted) {
      const answer = await atoll.get("fra", `${name}.localhost`, "/");
      if (answer.status === 200 && answer.body === "fine") served += 1;
      else failures.push(`${name} ${answer.status} ${answer.body}`);
      await wait(PAUSE_MS);
    }
  });
  await wait(TROUBLE_MS);
  done.abort();
  await Promise.all([...offend, ...serve]);
  expect(failures).toEqual([]);
  expect(served).toBeGreaterThan(NEIGHBOURS.length * 20);
  // They were at it all the time, and each was stopped for what it did.
  expect(new Set(offences)).toEqual(
    new Set(["looper 503 cpu_exceeded", "grower 503 memory_exceeded"]),
  );
}, 60_000);

test("neighbours: the offenders heal by themselves", async () => {
  for (const name of OFFENDERS) {
    await serveEverywhere(atoll, name, ({ body }) => body === "fine");
  }
}, 120_000);
