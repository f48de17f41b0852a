import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import { afterEach, beforeEach, expect, test } from "vitest";
import { says } from "../config/sample-version.ts";
import { LIMITS } from "../limits.ts";
import type { CellHost } from "./cell-host.ts";
import { SampleSupervisor } from "./sample-supervisor.ts";

let sample: SampleSupervisor;
/** What the next starts wait for, in their order. */
let waits: Array<Promise<void>>;
beforeEach(async () => {
  waits = [];
  const disturb = (host: CellHost): CellHost => ({
    start: async (spec) => {
      await waits.shift();
      return host.start(spec);
    },
    sample: () => host.sample(),
    keepReady: (sites) => host.keepReady(sites),
    dispose: () => host.dispose(),
  });
  sample = await SampleSupervisor.open({ disturb });
});
afterEach(() => sample.close());

const slow = says("slow", { name: "a-slow" });
const quick = says("quick", { name: "quick" });
const changedQuick = says("changed", { name: "quick" });

test("slow starts: a version that takes long to start holds back no other one, and is used when it has", async () => {
  await sample.run(slow, quick);
  await Promise.all([sample.ask("a-slow", "/"), sample.ask("quick", "/")]);
  const { promise, resolve } = Promise.withResolvers<void>();
  waits = [promise];
  const changed = [says("changed", { name: "a-slow" }), changedQuick];
  const begunMs = performance.now();
  expect(await sample.supervisor.apply(changed)).toMatchObject([
    { worker: slow.key, reason: expect.stringContaining("its start goes on") as string },
  ]);
  expect(performance.now() - begunMs).toBeLessThan(LIMITS.besideStartMs + 2_000);
  expect(await sample.ask("quick", "/")).toMatchObject({ body: "changed" });
  expect(await sample.ask("a-slow", "/")).toMatchObject({ body: "slow" });
  resolve();
  expect(await sample.supervisor.apply(changed)).toEqual([]);
  expect(await sample.ask("a-slow", "/")).toMatchObject({ body: "changed" });
  await waitFor(() => expect(sample.supervisor.status()).toHaveLength(2));
});

test("slow starts: what has started for nobody any more is stopped", async () => {
  await sample.run(slow);
  await sample.ask("a-slow", "/");
  const { promise, resolve } = Promise.withResolvers<void>();
  waits = [promise];
  expect(await sample.supervisor.apply([says("second", { name: "a-slow" })])).toHaveLength(1);
  expect(await sample.supervisor.apply([says("third", { name: "a-slow" })])).toEqual([]);
  resolve();
  expect(await sample.ask("a-slow", "/")).toMatchObject({ body: "third" });
  // Closing fails where a process is left.
});
