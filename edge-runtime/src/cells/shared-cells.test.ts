import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import { afterEach, beforeEach, expect, test } from "vitest";
import { sampleModule, says } from "../config/sample-version.ts";
import { RoutedSupervisor } from "./routed-supervisor.ts";

let cells: RoutedSupervisor;
beforeEach(async () => {
  cells = await RoutedSupervisor.open();
});
afterEach(() => cells.close());

test("shared cells: workers bound to each other share a cell and call each other", async () => {
  const callee = sampleModule(
    `import { WorkerEntrypoint } from "cloudflare:workers";
     export class Sum extends WorkerEntrypoint { add(a, b) { return a + b + this.ctx.props.bonus; } }
     export default { fetch() { return new Response("callee"); } };`,
    { name: "callee" },
  );
  const caller = sampleModule(
    `export default { async fetch(request, env) {
       const text = await (await env.CALLEE.fetch(request)).text();
       return new Response(text + (await env.SUM.add(1, 2)));
     } };`,
    {
      name: "caller",
      bindings: [
        { type: "service", name: "CALLEE", service: callee.name },
        {
          type: "service",
          name: "SUM",
          service: callee.name,
          entrypoint: "Sum",
          props: { bonus: 10 },
        },
      ],
    },
  );
  expect(await cells.supervisor.apply([caller, callee])).toEqual([]);
  expect(await cells.ask(caller)).toBe("callee13");
  expect(cells.supervisor.status()).toMatchObject([{ workers: ["callee", "caller"] }]);
  expect(await cells.ask(callee)).toBe("callee");
});

test("shared cells: in a shared cell a broken worker holds back nobody else", async () => {
  const shared = { settings: { cells: "shared" } } as const;
  const [a, b] = [says("a", { name: "a", ...shared }), says("b", { name: "b", ...shared })];
  expect(await cells.supervisor.apply([a, b])).toEqual([]);
  expect(await Promise.all([cells.ask(a), cells.ask(b)])).toEqual(["a", "b"]);
  expect(cells.supervisor.status()).toMatchObject([{ workers: ["a", "b"] }]);
  const broken = sampleModule(`throw new Error("broken");`, { name: "a", ...shared });
  const [changed, added] = [
    says("changed", { name: "b", ...shared }),
    says("added", { name: "c", ...shared }),
  ];
  const failures = await cells.supervisor.apply([broken, changed, added]);
  expect(failures).toMatchObject([{ worker: a.key, version: broken.version.id }]);
  expect(await Promise.all([cells.ask(a), cells.ask(b), cells.ask(added)])).toEqual([
    "a",
    "changed",
    "added",
  ]);
  // Mended, they are together again.
  const mended = says("mended", { name: "a", ...shared });
  expect(await cells.supervisor.apply([mended, changed, added])).toEqual([]);
  expect(await Promise.all([cells.ask(a), cells.ask(b), cells.ask(added)])).toEqual([
    "mended",
    "changed",
    "added",
  ]);
  await waitFor(() =>
    expect(cells.supervisor.status()).toMatchObject([{ workers: ["a", "b", "c"] }]),
  );
});

test("shared cells: in a cold shared cell a broken worker fails nobody else", async () => {
  const shared = { settings: { cells: "shared" } } as const;
  const [b, c] = [says("b", { name: "b", ...shared }), says("c", { name: "c", ...shared })];
  const broken = sampleModule(`throw new Error("broken");`, { name: "a", ...shared });
  // Nobody has used any of them, so nothing is started before the first request.
  expect(await cells.supervisor.apply([broken, b, c])).toEqual([]);
  const answers = await Promise.all([cells.ask(b), cells.ask(c), cells.ask(b)]);
  expect(answers).toEqual(["b", "c", "b"]);
  await expect(cells.ask(broken)).rejects.toMatchObject({ code: "cell_failed" });
  const pids = (): ReadonlyArray<number> => cells.supervisor.status().map(({ pid }) => pid);
  const before = pids();
  expect(cells.supervisor.status().map(({ workers }) => workers)).toEqual([["b"], ["c"]]);
  // A deploy of others changes nothing, also when all of them are cold.
  expect(await cells.supervisor.apply([broken, b, c, says("new", { name: "new" })])).toEqual([]);
  expect(pids()).toEqual(expect.arrayContaining([...before]));
  expect(await cells.ask(b)).toBe("b");
  // Mended, they are together again.
  const mended = says("mended", { name: "a", ...shared });
  expect(await cells.supervisor.apply([mended, b, c])).toEqual([]);
  expect(await Promise.all([cells.ask(mended), cells.ask(b), cells.ask(c)])).toEqual([
    "mended",
    "b",
    "c",
  ]);
  await waitFor(() =>
    expect(cells.supervisor.status()).toMatchObject([{ workers: ["a", "b", "c"] }]),
  );
});

test("shared cells: who shares a cell that keeps dying does not rest with it", async () => {
  const shared = { settings: { cells: "shared" } } as const;
  const [a, b] = [says("a", { name: "a", ...shared }), says("b", { name: "b", ...shared })];
  await cells.supervisor.apply([a, b]);
  const together = (): boolean => cells.supervisor.status()[0]?.workers.length === 2;
  let deaths = 0;
  for (; deaths < 20; deaths += 1) {
    // Each death doubles its rest, until the next one that asks would have to be refused.
    await cells.supervisor.activate(a.key);
    if (!together()) break;
    await cells.killCell("a");
  }
  expect(deaths).toBeGreaterThan(2);
  expect(await cells.ask(b)).toBe("b");
  expect(cells.supervisor.status()).toMatchObject([{ workers: ["a"] }, { workers: ["b"] }]);
});
