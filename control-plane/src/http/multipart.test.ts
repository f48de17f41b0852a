import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { readParts, type Part } from "./multipart.ts";

const BOUNDARY = "----boundary";

/** A request whose body comes in these pieces. */
function requestOf(
  pieces: ReadonlyArray<Uint8Array | string>,
  contentType = `multipart/form-data; boundary=${BOUNDARY}`,
) {
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    start(controller) {
      for (const piece of pieces) controller.enqueue(Uint8Array.from(Buffer.from(piece)));
      controller.close();
    },
  });
  return { body, headers: new Headers({ "content-type": contentType }) };
}

async function partsOf(request: Parameters<typeof readParts>[0], bytesMax = 1_000_000) {
  const parts: Part[] = [];
  for await (const part of readParts(request, bytesMax)) {
    parts.push({ ...part, content: Buffer.from(part.content) });
  }
  return parts;
}

const part = (name: string, content: string) =>
  `--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${content}\r\n`;
const END = `--${BOUNDARY}--\r\n`;

describe("multipart: ", () => {
  test("what the platform writes comes back, however it is cut", async () => {
    const file = fc.record({
      name: fc.stringMatching(/^[0-9a-f]{1,32}$/),
      content: fc.uint8Array({ maxLength: 2_000 }),
    });
    const isCut = fc.array(fc.integer({ min: 1, max: 1_500 }), { minLength: 1, maxLength: 50 });
    await fc.assert(
      fc.asyncProperty(fc.array(file, { maxLength: 8 }), isCut, async (files, cuts) => {
        const form = new FormData();
        for (const { name, content } of files) {
          form.append(name, new File([Uint8Array.from(content)], name, { type: "text/html" }));
        }
        const encoded = new Response(form);
        const whole = Buffer.from(await encoded.arrayBuffer());
        const pieces: Buffer[] = [];
        for (let start = 0, index = 0; start < whole.length; index += 1) {
          const bytes = cuts[index % cuts.length] ?? 1;
          pieces.push(whole.subarray(start, start + bytes));
          start += bytes;
        }
        const type = encoded.headers.get("content-type") ?? "";
        const parts = await partsOf(requestOf(pieces, type));
        expect(parts.map(({ name, content }) => [name, [...content]])).toEqual(
          files.map(({ name, content }) => [name, [...content]]),
        );
        expect(parts.every(({ contentType }) => contentType === "text/html")).toBe(true);
      }),
      { numRuns: 100 },
    );
  });

  test("content may hold all but the delimiter", async () => {
    const content = `--${BOUNDARY}\r\n\r\n--\r\n--${BOUNDARY.slice(0, -1)}\r\n`;
    expect(await partsOf(requestOf([part("a", content), part("b", ""), END]))).toEqual([
      { name: "a", content: Buffer.from(content) },
      { name: "b", content: Buffer.alloc(0) },
    ]);
  });

  test("a body without parts has none, and a quoted boundary is one", async () => {
    expect(await partsOf(requestOf([END]))).toEqual([]);
    const type = `Multipart/Form-Data; charset=x; boundary="${BOUNDARY}"`;
    expect(await partsOf(requestOf([part("a", "1"), END], type))).toHaveLength(1);
  });

  test.each([
    ["no body", []],
    ["a cut part", [part("a", "1").slice(0, -4)]],
    ["no end", [part("a", "1")]],
    ["no headers", [`--${BOUNDARY}\r\n`]],
    ["no name", [`--${BOUNDARY}\r\nContent-Type: text/html\r\n\r\nx\r\n`, END]],
    ["another boundary", ["--other\r\n\r\n"]],
    ["text behind a delimiter", [`--${BOUNDARY}x\r\n`]],
  ])("%s is refused", async (_, pieces) => {
    await expect(partsOf(requestOf(pieces))).rejects.toMatchObject({ code: "invalid_multipart" });
  });

  test.each(["", "application/json", "multipart/form-data", "multipart/form-data; boundary="])(
    "the content type '%s' is refused",
    async (type) => {
      const reading = partsOf(requestOf([part("a", "1"), END], type));
      await expect(reading).rejects.toMatchObject({ code: "invalid_multipart" });
    },
  );

  test("a part, its headers and what is before the first are bounded", async () => {
    expect(await partsOf(requestOf([part("a", "123"), END]), 3)).toHaveLength(1);
    const cases = [
      [part("a", "1234"), END],
      [`--${BOUNDARY}\r\nX: ${"x".repeat(LIMITS.multipartHeadersBytesMax)}\r\n`, END],
      ["x".repeat(LIMITS.multipartPreambleBytesMax + BOUNDARY.length + 10), END],
    ];
    for (const pieces of cases) {
      const reading = partsOf(requestOf(pieces), 3);
      await expect(reading).rejects.toMatchObject({ code: "body_too_large" });
    }
  });

  test("a part that never ends is refused before it is held", async () => {
    let sent = 0;
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      pull(controller) {
        sent += 10_000;
        controller.enqueue(
          Uint8Array.from(
            Buffer.from(
              sent === 10_000 ? part("a", "").trimEnd() + "\r\n\r\n" : "x".repeat(10_000),
            ),
          ),
        );
      },
    });
    const headers = new Headers({ "content-type": `multipart/form-data; boundary=${BOUNDARY}` });
    await expect(partsOf({ body, headers }, 100_000)).rejects.toMatchObject({
      code: "body_too_large",
    });
    expect(sent).toBeLessThan(200_000);
  });

  test("a sender that goes away is told of as such", async () => {
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      pull(controller) {
        controller.error(new Error("gone"));
      },
    });
    const headers = new Headers({ "content-type": `multipart/form-data; boundary=${BOUNDARY}` });
    await expect(partsOf({ body, headers })).rejects.toThrow(/sender went away/);
  });
});
