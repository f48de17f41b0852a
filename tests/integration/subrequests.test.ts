import { afterAll, beforeAll, expect, test } from "vitest";
import { startAtoll, type TestAtoll } from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { upload } from "../support/upload.ts";

// Makes so many subrequests, and tells the status of each kind of answer and how often it came. The
// destination is refused, and counts all the same: what is bounded is what leaves the cell.
const SOURCE = `
async function fetchAll(count) {
  const seen = {};
  for (let each = 0; each < count; each += 1) {
    const { status } = await fetch("http://127.0.0.1:1/");
    seen[status] = (seen[status] ?? 0) + 1;
  }
  return seen;
}
let late;
export default { async fetch(request, env, context) {
  const { pathname } = new URL(request.url);
  if (pathname === "/late") return Response.json(late ?? null);
  if (pathname !== "/after") return Response.json(await fetchAll(Number(pathname.slice(1))));
  late = undefined;
  const { readable, writable } = new TransformStream();
  context.waitUntil(
    writable.close().then(() => scheduler.wait(200)).then(() => fetchAll(10)).then((seen) => { late = seen; }),
  );
  return new Response(readable);
} };`;

let atoll: TestAtoll;
beforeAll(async () => {
  atoll = await startAtoll();
});
afterAll(() => atoll.stop());

let count = 0;
/** A worker that got no request yet; resolves with how it is asked. */
async function deploy(limits?: object): Promise<(path: string) => Promise<unknown>> {
  count += 1;
  const name = `caller-${count}`;
  const answer = await upload(atoll, {
    name,
    source: SOURCE,
    metadata: { ...(limits && { limits }) },
  });
  expect(answer.status, answer.body).toBe(200);
  return async (path) => {
    const { body } = await atoll.get("fra", `${name}.localhost`, path);
    return body === "" ? undefined : (JSON.parse(body) as unknown);
  };
}

test.each([
  [49, { 403: 49 }],
  [50, { 403: 50 }],
  [51, { 403: 50, 429: 1 }],
])("of %d subrequests of one request, 50 leave", async (made, seen) => {
  const ask = await deploy();
  expect(await ask(`/${made}`)).toEqual(seen);
});

test.each([
  [6, { 403: 6 }],
  [7, { 403: 7 }],
  [8, { 403: 7, 429: 1 }],
])("of %d subrequests of a worker that asks for 7, 7 leave", async (made, seen) => {
  const ask = await deploy({ subrequests: 7 });
  expect(await ask(`/${made}`)).toEqual(seen);
});

test("requests one after another, cold and warm, each have their own", async () => {
  const ask = await deploy();
  for (let request = 0; request < 5; request += 1) {
    expect(await ask("/51")).toEqual({ 403: 50, 429: 1 });
  }
});

test("requests at the same time have theirs together", async () => {
  const ask = await deploy();
  await ask("/0");
  const seen = await Promise.all(Array.from({ length: 20 }, () => ask("/50")));
  expect(seen).toEqual(Array.from({ length: 20 }, () => ({ 403: 50 })));
});

test("what a request does after its answer is its own", async () => {
  const ask = await deploy();
  await ask("/after");
  const late = await eventually(async () => (await ask("/late")) ?? false, {
    what: "the late subrequests",
  });
  expect(late).toEqual({ 403: 10 });
});
