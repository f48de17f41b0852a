import { afterAll, beforeAll, expect, test } from "vitest";
import { WorkerName, type Binding } from "@atoll/control-plane/contract";
import { SampleCells } from "../cells/sample-cell.ts";
import { POSITIONS } from "../ingress/split.ts";
import { configureGroup } from "./group-config.ts";
import { sampleModule, type SampleWorker } from "./sample-version.ts";

const CALLED = WorkerName.parse("called");
const CALLS = 1_000;

let cells: SampleCells;
beforeAll(async () => {
  cells = await SampleCells.open();
});
afterAll(() => cells.close());

/** A version of the worker that is called, which says which one it is. */
function version(name: string, bindings: ReadonlyArray<Binding> = []): SampleWorker {
  const source = `import { RpcTarget, WorkerEntrypoint } from "cloudflare:workers";
class Counter extends RpcTarget { #count = 0; add(by) { this.#count += by; return "${name}" + this.#count; } }
export class Named extends WorkerEntrypoint {
  who() { return ["${name}", this.ctx.props.from, this.env.NEXT === undefined]; }
}
export default class extends WorkerEntrypoint {
  get property() { return "${name}"; }
  who() { return "${name}"; }
  counter() { return new Counter(); }
  throws() { throw new RangeError("${name}"); }
  stream() { return new Response("${name}").body; }
  async callBack(back) { return "${name}" + await back(1); }
  async fetch(request) {
    if (new URL(request.url).pathname === "/next") return this.env.NEXT.fetch(request);
    return new Response("${name} " + request.method + " " + request.url + " " + await request.text());
  }
}`;
  return sampleModule(source, { name: CALLED, bindings });
}

/** Who calls, with what its answer is. */
function caller(source: string): SampleWorker {
  const bindings: Binding[] = [
    { type: "service", name: "CALLED", service: CALLED },
    {
      ...{ type: "service", name: "NAMED", service: CALLED },
      ...{ entrypoint: "Named", props: { from: "the caller" } },
    },
  ];
  const script = `export default { async fetch(request, env) { return Response.json(await (${source})(env)); } };`;
  return sampleModule(script, { name: "caller", bindings });
}

async function ask(
  source: string,
  share: number,
  others: ReadonlyArray<SampleWorker> = [],
): Promise<unknown> {
  const bindings: Binding[] = others.map(({ name }) => ({
    ...{ type: "service", name: "NEXT", service: name },
  }));
  const split = { ...version("main"), other: { member: version("other", bindings), share } };
  const call = await cells.start([caller(source), split, ...others]);
  return JSON.parse((await call(0)).body) as unknown;
}

const COUNT = (call: string): string => `async (env) => {
  const counts = {};
  for (let index = 0; index < ${CALLS}; index += 1) {
    const who = await ${call};
    counts[who] = (counts[who] ?? 0) + 1;
  }
  return counts;
}`;

test.each([
  ["requests", `(await env.CALLED.fetch("http://x/")).text().then((text) => text.split(" ")[0])`],
  ["methods", "env.CALLED.who()"],
  ["methods of a named entrypoint", "env.NAMED.who().then(([who]) => who)"],
])("split service: %s go to each version by its share, exactly", async (_, call) => {
  const counts = (await ask(COUNT(call), 0.2 * POSITIONS)) as { main: number; other: number };
  expect(counts.main + counts.other).toBe(CALLS);
  expect(Math.abs(counts.other - 0.2 * CALLS)).toBeLessThanOrEqual(2);
});

test("split service: a call is as it would be without it", async () => {
  const answers = await ask(
    `async ({ CALLED, NAMED }) => [
      await (await CALLED.fetch("http://host/path", { method: "POST", body: "body" })).text(),
      await CALLED.property,
      await CALLED.counter().add(2),
      await CALLED.counter().then(async (counter) => { await counter.add(1); return counter.add(1); }),
      await CALLED.throws().catch(({ name, message }) => name + message),
      await new Response(await CALLED.stream()).text(),
      await CALLED.callBack((value) => value + 1),
      await NAMED.who(),
      await CALLED.nothing().catch(({ message }) => message),
    ]`,
    POSITIONS,
  );
  expect(answers).toEqual([
    "other POST http://host/path body",
    ...["other", "other2", "other2", "RangeErrorother", "other", "other2"],
    ["other", "the caller", true],
    expect.stringContaining('"nothing"'),
  ]);
});

test("split service: the version beside calls what it is bound to itself", async () => {
  const next = sampleModule(`export default { fetch: () => new Response("next") };`, {
    name: "next",
  });
  const source = `async ({ CALLED }) => (await CALLED.fetch("http://x/next")).text()`;
  expect(await ask(source, POSITIONS, [next])).toBe("next");
});

test("split service: where nobody calls the worker there is no further version of it", async () => {
  const split = { ...version("main"), other: { member: version("other"), share: 1 } };
  const { text } = configureGroup([split], () => "");
  expect(text).not.toContain("split");
});
