import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Sample, sampleModule, type SampleWorker, says } from "../config/sample-version.ts";
import { versionTarget } from "../ingress/target-key.ts";
import type { PreparedWorker } from "./prepared-worker.ts";
import { RoutedSupervisor } from "./routed-supervisor.ts";

let cells: RoutedSupervisor;
beforeEach(async () => {
  cells = await RoutedSupervisor.open();
});
afterEach(() => cells.close());

/** Two versions of the worker `sample`, as a split has them. */
function splitOf(main: SampleWorker, other: SampleWorker): ReadonlyArray<PreparedWorker> {
  return [
    { ...main, role: "main" },
    { ...other, role: "other" },
  ];
}

test("split workers: two versions of a worker are warm, and none is restarted as their shares change", async () => {
  const [one, two] = [says("one"), says("two")];
  await cells.supervisor.apply([one]);
  await cells.ask(one);
  const [pid] = cells.supervisor.status().map((cell) => cell.pid);
  expect(await cells.supervisor.apply(splitOf(one, two))).toEqual([]);
  expect(await cells.askVersion(one)).toEqual({ body: "one", isCold: false });
  expect(await cells.askVersion(two)).toEqual({ body: "two", isCold: false });
  expect(await cells.ask(one)).toBe("one");
  const pids = cells.supervisor.status().map((cell) => cell.pid);
  expect(pids).toHaveLength(2);
  expect(pids).toContain(pid);
  // Now the other one has the larger share.
  await cells.supervisor.apply(splitOf(two, one));
  expect(await cells.ask(one)).toBe("two");
  expect(await cells.askVersion(one)).toEqual({ body: "one", isCold: false });
  expect(cells.supervisor.status().map((cell) => cell.pid)).toEqual(expect.arrayContaining(pids));
  await cells.supervisor.apply([two]);
  expect(await cells.ask(two)).toBe("two");
  expect(cells.routes.published.has(versionTarget(two.key, two.version.id))).toBe(false);
  // A request that was on its way to a version that has left is answered all the same.
  expect(await cells.askVersion(one)).toEqual({ body: "two", isCold: false });
  await waitFor(() => expect(cells.supervisor.status()).toHaveLength(1));
  expect(pids).toContain(cells.supervisor.status()[0]?.pid);
});

test("split workers: a version beside another one has its own callees, and callers keep the main one", async () => {
  const helper = says("helped", { name: "helper" });
  const bindings = [{ type: "service" as const, name: "TO", service: helper.name }];
  const calls = (text: string, sample: Sample): SampleWorker =>
    sampleModule(
      `export default { async fetch(request, env) {
        return new Response(${JSON.stringify(text)} + (await (await env.TO.fetch(request)).text()));
      } };`,
      sample,
    );
  const [one, two] = [calls("one ", { bindings }), calls("two ", { bindings })];
  const toOne = [{ type: "service" as const, name: "TO", service: one.name }];
  const caller = calls("caller ", { name: "caller", bindings: toOne });
  expect(await cells.supervisor.apply([caller, helper, ...splitOf(one, two)])).toEqual([]);
  expect(await cells.ask(caller)).toBe("caller one helped");
  expect(await cells.askVersion(two)).toMatchObject({ body: "two helped" });
  expect(await cells.ask(helper)).toBe("helped");
});

test("split workers: a version of a split that does not start fails alone", async () => {
  const helper = says("helped", { name: "helper" });
  const good = says("good");
  const bad = sampleModule(`throw new Error("broken on arrival");`, {
    bindings: [{ type: "service", name: "TO", service: helper.name }],
  });
  await cells.supervisor.apply([good, helper]);
  await cells.ask(good);
  const failures = await cells.supervisor.apply([...splitOf(good, bad), helper]);
  expect(failures).toMatchObject([{ worker: good.key, version: bad.version.id }]);
  expect(await cells.ask(good)).toBe("good");
  expect(await cells.ask(helper)).toBe("helped");
});
