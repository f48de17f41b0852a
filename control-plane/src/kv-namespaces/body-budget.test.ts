import { expect, test } from "vitest";
import { BodyBudget, type ReadBody } from "./body-budget.ts";

const keep = (body: ReadBody): Promise<ReadBody> => Promise.resolve(body);

/** A request whose body ends when the test says so. */
function openRequest(announcedBytes?: number): { request: Request; end: (text: string) => void } {
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  const body = new ReadableStream<Uint8Array>({
    start: (given) => {
      controller = given;
    },
  });
  const headers = announcedBytes === undefined ? {} : { "content-length": String(announcedBytes) };
  const init = { method: "PUT", body, headers, duplex: "half" };
  return {
    request: new Request("http://localhost/", init as RequestInit),
    end: (text) => {
      controller?.enqueue(Buffer.from(text));
      controller?.close();
    },
  };
}

const requestOf = (text: string): Request =>
  new Request("http://localhost/", {
    method: "PUT",
    body: text,
    headers: { "content-length": String(Buffer.byteLength(text)) },
  });

test("body budget: a body of exactly the limit is kept, a longer one is counted and thrown away", async () => {
  const budget = new BodyBudget({ bytesMax: 100, drainBytesMax: 20 });
  const exact = await budget.read(requestOf("12345"), 5, keep);
  expect(exact.kind === "content" && Buffer.from(exact.content).toString()).toBe("12345");
  expect(await budget.read(requestOf("123456"), 5, keep)).toEqual({ kind: "too_long", bytes: 6 });
  expect(await budget.read(new Request("http://localhost/"), 5, keep)).toMatchObject({
    kind: "content",
    content: { length: 0 },
  });
});

test("body budget: bodies in progress hold their announced size, or the limit when none is", async () => {
  const budget = new BodyBudget({ bytesMax: 10, drainBytesMax: 20 });
  const slow = openRequest(4);
  const unannounced = openRequest();
  const reads = [budget.read(slow.request, 100, keep), budget.read(unannounced.request, 5, keep)];
  await expect(budget.read(requestOf("12"), 5, keep)).rejects.toMatchObject({ code: "busy" });
  expect(await budget.read(requestOf("1"), 5, keep)).toMatchObject({ kind: "content" });
  slow.end("1234");
  unannounced.end("1");
  await Promise.all(reads);
  expect(await budget.read(requestOf("1234567890"), 10, keep)).toMatchObject({ kind: "content" });
});

test("body budget: a failure gives its room back", async () => {
  const budget = new BodyBudget({ bytesMax: 5, drainBytesMax: 20 });
  const failing = budget.read(requestOf("12345"), 5, () => Promise.reject(new Error("refused")));
  await expect(failing).rejects.toThrow("refused");
  expect(await budget.read(requestOf("12345"), 5, keep)).toMatchObject({ kind: "content" });
});
