import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { BlobHash, WorkerName, type Binding } from "@atoll/control-plane/contract";
import { afterAll, beforeAll, expect, test } from "vitest";
import { SampleCells } from "../cells/sample-cell.ts";
import { sampleModule, sampleWorker } from "./sample-version.ts";

let cells: SampleCells;
beforeAll(async () => {
  cells = await SampleCells.open();
});
afterAll(() => cells.close());

test("config: a binding to a worker that is not there fails when it is used, and says so", async () => {
  const gone = WorkerName.parse("gone");
  const caller = sampleModule(
    `export default { async fetch(request, { S, NAMED }) {
      const calls = [S.fetch("http://gone/"), NAMED.add(1, 2), NAMED.fetch("http://gone/")];
      const ends = await Promise.allSettled(calls);
      return Response.json(ends.map(({ reason }) => reason?.message)); } };`,
    {
      bindings: [
        { type: "service", name: "S", service: gone },
        { type: "service", name: "NAMED", service: gone, entrypoint: "Named", props: { a: 1 } },
      ],
    },
  );
  const ask = await cells.start([caller]);
  const messages = JSON.parse((await ask(0)).body) as ReadonlyArray<string>;
  expect(messages).toHaveLength(3);
  for (const message of messages) expect(message).toContain("'gone', to which the binding");
});

test("config: a named entrypoint is called with arguments, props and what it returns to call", async () => {
  const owner = sampleModule(
    `import { RpcTarget, WorkerEntrypoint } from "cloudflare:workers";
    class Counter extends RpcTarget {
      #count = 0;
      next(by) { this.#count += by; return this.#count; }
    }
    export class Named extends WorkerEntrypoint {
      add(a, b) { return { sum: a + b, who: this.ctx.props.who }; }
      counter() { return new Counter(); }
      async each(list, callback) { return Promise.all(list.map((item) => callback(item))); }
      fail() { throw new RangeError("out of it"); }
      fetch() { return new Response("named " + this.ctx.props.who); }
    }
    export default class extends WorkerEntrypoint { hello() { return "default"; } }`,
    { name: "owner" },
  );
  const service = owner.name;
  const caller = sampleModule(
    `export default { async fetch(request, { NAMED, OTHER, OWNER }) {
      const counter = await NAMED.counter();
      await counter.next(2);
      return Response.json([
        await NAMED.add(1, 2), await OTHER.add(3, 4), await counter.next(3),
        await NAMED.each([1, 2], (item) => item * 10),
        await NAMED.fail().catch((error) => error.name + ": " + error.message),
        await (await NAMED.fetch("http://owner/")).text(), await OWNER.hello(),
      ]); } };`,
    {
      name: "caller",
      bindings: [
        { type: "service", name: "NAMED", service, entrypoint: "Named", props: { who: "one" } },
        { type: "service", name: "OTHER", service, entrypoint: "Named", props: { who: "two" } },
        { type: "service", name: "OWNER", service },
      ],
    },
  );
  const ask = await cells.start([owner, caller]);
  expect(JSON.parse((await ask(1)).body)).toEqual([
    { sum: 3, who: "one" },
    { sum: 7, who: "two" },
    5,
    [10, 20],
    "RangeError: out of it",
    "named one",
    "default",
  ]);
});

test("config: an entrypoint that its worker does not export fails when it is used, and says so", async () => {
  const owners = [
    sampleModule(`export default { fetch: () => new Response("owner") };`, { name: "owner-0" }),
    sampleModule(`export class There {}`, { name: "owner-1" }),
    sampleModule(
      `import { WorkerEntrypoint } from "cloudflare:workers";
      export { default } from "./inner.js";
      export class There extends WorkerEntrypoint { add(a, b) { return a + b; } }`,
      {
        name: "owner-2",
        modules: [
          {
            name: "inner.js",
            kind: "esm",
            content: `export default { fetch: () => new Response("inner") };`,
          },
        ],
      },
    ),
  ];
  const bindings = owners.flatMap(({ name }, index): Binding[] => [
    { type: "service", name: `GONE_${index}`, service: name, entrypoint: 'Gone "away"' },
    { type: "service", name: `OWNER_${index}`, service: name },
  ]);
  const there = { name: "THERE", service: owners[2]?.name as WorkerName, entrypoint: "There" };
  const caller = sampleModule(
    `export default { async fetch(request, env) {
      const calls = [0, 1, 2].flatMap((index) => [env["GONE_" + index].fetch("http://x/"), env["GONE_" + index].add(1)]);
      const ends = await Promise.allSettled(calls);
      const own = async (name) => (await env[name].fetch("http://x/")).text();
      return Response.json({
        missing: ends.map(({ reason }) => reason?.message),
        here: [await own("OWNER_0"), await own("OWNER_2"), await env.THERE.add(1, 2)],
      }); } };`,
    { name: "caller", bindings: [...bindings, { type: "service", ...there }] },
  );
  const ask = await cells.start([...owners, caller]);
  const { missing, here } = JSON.parse((await ask(3)).body) as {
    missing: ReadonlyArray<string>;
    here: unknown;
  };
  expect(here).toEqual(["owner", "inner", 3]);
  expect(missing).toHaveLength(6);
  for (const message of missing)
    expect(message).toMatch(/'owner-\d' has no entrypoint 'Gone "away"'/);
});

test.each(["my worker.js", "[id] (1).js", "é/%20?a#b.js"])(
  "config: the same of a worker whose main module is '%s'",
  async (main) => {
    const source = `import { WorkerEntrypoint } from "cloudflare:workers";
      export class There extends WorkerEntrypoint { add(a, b) { return a + b; } }
      export default {};`;
    const modules = [{ name: main, kind: "esm", content: source }] as const;
    const owners = [[], ["new_module_registry"]].map((compatibilityFlags, index) =>
      sampleWorker({ name: `owner-${index}`, modules, compatibilityFlags }),
    );
    const caller = sampleModule(
      `export default { async fetch(request, env) {
        const calls = [0, 1].flatMap((index) => [env["THERE_" + index].add(1, 2), env["GONE_" + index].add(1)]);
        const ends = await Promise.allSettled(calls);
        return Response.json(ends.map(({ reason, value }) => reason?.message ?? value)); } };`,
      {
        name: "caller",
        bindings: owners.flatMap(({ name: service }, index): Binding[] => [
          { type: "service", name: `THERE_${index}`, service, entrypoint: "There" },
          { type: "service", name: `GONE_${index}`, service, entrypoint: "Gone" },
        ]),
      },
    );
    const ask = await cells.start([...owners, caller]);
    const missing = expect.stringContaining("has no entrypoint 'Gone'");
    expect(JSON.parse((await ask(2)).body)).toEqual([3, missing, 3, missing]);
  },
);

test("config: an entrypoint of a worker without modules fails when it is used, and says so", async () => {
  const siteDirectory = join(cells.directory, "site-of-no-entrypoint");
  await mkdir(siteDirectory);
  await writeFile(join(siteDirectory, "index.html"), "home");
  const assets = { manifest: BlobHash.parse("a".repeat(64)) };
  const script = `addEventListener("fetch", (event) => event.respondWith(new Response("script")));`;
  const owners = [
    sampleWorker({ name: "owner-0", siteDirectory, assets }),
    sampleWorker({ name: "owner-1", script }),
    sampleWorker({ name: "owner-2", script, siteDirectory, assets }),
  ];
  const member = sampleModule(
    `import { WorkerEntrypoint } from "cloudflare:workers";
    export class Named extends WorkerEntrypoint { add() { return "added"; } }
    export default {};`,
    { name: "owner-3" },
  );
  const split = { ...sampleWorker({ name: "owner-3", script }), other: { member, share: 500_000 } };
  const caller = sampleModule(
    `export default { async fetch(request, env) {
      const calls = [0, 1, 2, 3, 3].map((index) => env["NAMED_" + index].add(1));
      const ends = await Promise.allSettled(calls);
      return Response.json(ends.map(({ reason, value }) => reason?.message ?? value)); } };`,
    {
      name: "caller",
      bindings: [...owners, split].map(({ name }, index): Binding => {
        return { type: "service", name: `NAMED_${index}`, service: name, entrypoint: "Named" };
      }),
    },
  );
  const ask = await cells.start([...owners, split, caller]);
  expect((await ask(0)).body).toBe("home");
  expect((await ask(1)).body).toBe("script");
  const ends = JSON.parse((await ask(4)).body) as ReadonlyArray<string>;
  const missing = (index: number) =>
    expect.stringContaining(`'owner-${index}' has no modules, and so no entrypoint 'Named'`);
  expect(ends.slice(0, 3)).toEqual([0, 1, 2].map(missing));
  expect(ends.slice(3).toSorted()).toEqual([missing(3), "added"]);
});

test("config: workers may be bound to each other, and to themselves", async () => {
  const source = `export default { async fetch(request, { OTHER, NAME }) {
    const left = Number(new URL(request.url).searchParams.get("left") ?? 3);
    if (left === 0) return new Response(NAME);
    const answer = await OTHER.fetch("http://other/?left=" + (left - 1));
    return new Response(NAME + " " + (await answer.text())); } };`;
  const bound = (name: string, other: string) =>
    sampleModule(source, {
      name,
      bindings: [
        { type: "service", name: "OTHER", service: WorkerName.parse(other) },
        { type: "plain_text", name: "NAME", text: name },
      ],
    });
  const ask = await cells.start([bound("a", "b"), bound("b", "a"), bound("c", "c")]);
  expect((await ask(0)).body).toBe("a b a b");
  expect((await ask(2)).body).toBe("c c c c");
});

test("config: tail consumers of the group hear what happens, and nobody else", async () => {
  const listener = sampleModule(
    `const heard = [];
    export default {
      tail(events) { for (const { outcome, logs } of events) heard.push([outcome, logs[0]?.message]); },
      fetch() { return Response.json(heard); },
    };`,
    { name: "listener" },
  );
  const speaker = sampleModule(
    `export default { fetch(request) { console.log(request.url); return new Response(); } };`,
    { name: "speaker", tailConsumers: [listener.name, WorkerName.parse("gone")] },
  );
  const ask = await cells.start([listener, speaker]);
  await ask(1, { path: "/spoken" });
  await expect
    .poll(async () => JSON.parse((await ask(0)).body) as unknown)
    .toEqual([["ok", [expect.stringContaining("/spoken")]]]);
});
