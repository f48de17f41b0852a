import { afterEach, beforeEach, expect, test } from "vitest";
import { KvError } from "../errors.ts";
import { Revision } from "../names.ts";
import { FrontBench, NAMESPACE, NEVER } from "../test-support/front-bench.ts";

let bench: FrontBench;
beforeEach(async () => {
  bench = await FrontBench.open();
});
afterEach(() => bench.close());

test("KvFront: each answer says what it is of, and a read of a key which revision that has", async () => {
  const revision = "x-atoll-kv-revision";
  const lag = "x-atoll-kv-lag-ms";
  const entry = "x-atoll-kv-entry-revision";
  expect((await bench.putAt("/a", "1")).headers).toMatchObject({ [revision]: "1", [entry]: "1" });
  expect((await bench.putAt("/b", "1")).headers).toMatchObject({ [revision]: "2", [entry]: "2" });
  const a = await bench.call({ path: "/a?urlencoded=true" });
  expect(a.headers).toMatchObject({ [revision]: "2", [lag]: "12", [entry]: "1" });
  bench.lagMs = null;
  const absent = await bench.call({ path: "/c?urlencoded=true" });
  expect(absent.headers).toMatchObject({ [revision]: "2", [entry]: "0" });
  expect(absent.headers[lag]).toBeUndefined();
  bench.lagMs = 0;
  const body = JSON.stringify({ keys: ["a"] });
  for (const read of [{ path: "/" }, { method: "POST", path: "/bulk/get", body }]) {
    expect((await bench.call(read)).headers).toMatchObject({ [revision]: "2", [lag]: "0" });
  }
  const removed = await bench.call({ method: "DELETE", path: "/a?urlencoded=true" });
  expect(removed.headers).toMatchObject({ [revision]: "3", [entry]: "0" });
});

test("KvFront: workerd's binding, which shows it to nobody, is told nothing of the copy", async () => {
  await bench.putAt("/a", "1");
  const headers = { "CF-KV-FLPROD-405": "https://fake-host/a?urlencoded=true" };
  const told = async (path: string): Promise<ReadonlyArray<string>> =>
    Object.keys((await bench.call({ path, headers })).headers);
  expect(await told("/a?urlencoded=true")).toEqual(["content-length"]);
  expect(await told("/absent?urlencoded=true")).toEqual(["content-length"]);
});

test("KvFront: a read asks for the freshness that its caller wants, and for the keys that it is of", async () => {
  const fresh = "min_revision=7&max_staleness_ms=250";
  const wanted = { minRevision: 7, maxStalenessMs: 250 };
  await bench.call({ path: `/a?urlencoded=true&${fresh}` });
  expect(bench.demand).toEqual({ keys: ["a"], ...wanted });
  await bench.call({ path: `/?prefix=p&${fresh}` });
  expect(bench.demand).toEqual({ prefix: "p", ...wanted });
  const body = JSON.stringify({ keys: ["a", "b"] });
  await bench.call({ method: "POST", path: `/bulk/get?${fresh}`, body });
  expect(bench.demand).toEqual({ keys: ["a", "b"], ...wanted });
  await bench.call({ path: "/a?urlencoded=true" });
  expect(bench.demand).toEqual({ keys: ["a"] });
  const refused = await bench.call({ path: `/a?urlencoded=true&min_revision=${NEVER}` });
  expect(refused).toMatchObject({
    status: 503,
    reason: "not here yet",
    headers: { "x-atoll-kv-error": "replica_behind" },
  });
  expect(refused.headers["x-atoll-kv-lag-ms"]).toBeUndefined();
});

test.each([
  ["if_revision=4", 4],
  ["if_revision=0", 0],
  ["if_revision=null", 0],
])("KvFront: a write with %s is made for that revision of its key", async (query, revision) => {
  const wanted = [{ key: "a", revision }];
  await bench.call({ method: "PUT", path: `/a?urlencoded=true&${query}`, body: "1" });
  expect(bench.conditions).toEqual(wanted);
  await bench.call({ method: "DELETE", path: `/a?urlencoded=true&${query}` });
  expect(bench.conditions).toEqual(wanted);
  await bench.putAt("/a", "2");
  expect(bench.conditions).toEqual([]);
});

test("KvFront: a write that came too late says which revision there is", async () => {
  const text = 'The write was for revision 4 of key "a", and found revision 5';
  bench.writeError = new KvError("precondition_failed", text, { found: Revision.parse(5) });
  const answer = await bench.call({
    method: "PUT",
    path: "/a?urlencoded=true&if_revision=4",
    body: "1",
  });
  expect(answer).toMatchObject({
    status: 412,
    reason: text,
    headers: { "x-atoll-kv-error": "precondition_failed", "x-atoll-kv-entry-revision": "5" },
  });
});

test.each(["min_revision", "max_staleness_ms", "if_revision"])(
  "KvFront: what is no number is no %s",
  async (name) => {
    for (const wrong of ["", "-1", "1.5", "x", "1e3", "9".repeat(16), "null\r\n"]) {
      const path = `/k?urlencoded=true&${name}=${encodeURIComponent(wrong)}`;
      const method = name === "if_revision" ? "PUT" : "GET";
      const answer = await bench.call({ method, path });
      expect([answer.status, answer.reason]).toEqual([
        400,
        expect.stringContaining(`Invalid ${name} of`),
      ]);
    }
  },
);

test("KvFront: times to live are counted from the origin's time, and refused before that is known", async () => {
  const path = "/k?urlencoded=true&expiration_ttl=60";
  const early = await bench.call({ method: "PUT", path, body: "1" });
  expect([early.status, early.headers["x-atoll-kv-error"]]).toEqual([503, "origin_unreachable"]);
  const originMs = bench.clock.nowMs() + 3_600_000;
  bench.replica.heard({ originMs, echoMs: bench.clock.monotonicMs() });
  expect((await bench.call({ method: "PUT", path, body: "1" })).status).toBe(200);
  expect(bench.replica.get(NAMESPACE, "k")?.expiresAt).toBe(Math.floor(originMs / 1_000) + 60);
});
