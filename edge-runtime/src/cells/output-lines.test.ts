import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { readLines } from "./output-lines.ts";

async function linesOf(chunks: ReadonlyArray<Buffer>, lineLengthMax = 100): Promise<string[]> {
  const stream = new PassThrough();
  const lines: string[] = [];
  readLines(stream, lineLengthMax, (line) => lines.push(line));
  const ended = new Promise((resolve) => stream.once("end", resolve));
  for (const chunk of chunks) stream.write(chunk);
  stream.end();
  await ended;
  return lines;
}

test("output lines: lines and characters may be split between chunks anywhere", async () => {
  const text = "first\n\nsecond é 💥\nlast without end";
  const bytes = Buffer.from(text);
  const single = Array.from(bytes, (byte) => Buffer.from([byte]));
  expect(await linesOf(single)).toEqual(text.split("\n"));
  expect(await linesOf([bytes])).toEqual(text.split("\n"));
});

test("output lines: the rest of a long line is dropped, the next one is whole", async () => {
  const flood = Array.from({ length: 50 }, () => Buffer.alloc(1_000, "x"));
  const lines = await linesOf([...flood, Buffer.from("\nnext\n")], 10);
  expect(lines).toEqual(["x".repeat(10), "next"]);
});

test("output lines: a stream that breaks ends quietly", async () => {
  const stream = new PassThrough();
  const lines: string[] = [];
  readLines(stream, 10, (line) => lines.push(line));
  stream.write("a\n");
  await new Promise((resolve) => stream.once("close", resolve).destroy(new Error("broken")));
  expect(lines).toEqual(["a"]);
});
