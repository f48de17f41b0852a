import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { UsageError } from "../settings.ts";
import { entryLines } from "./dump-file.ts";

let path: string;
beforeEach(async () => {
  path = join(await mkdtemp(join(tmpdir(), "atoll-dump-")), "dump");
});
afterEach(() => rm(join(path, ".."), { recursive: true }));

const HEAD = `{"atoll":"kv-dump","version":1,"namespace":"${"a".repeat(32)}","revision":1,"at":"2026-11-20T12:00:00.000Z"}`;
const A = '{"key":"a","value":"1"}';
const B = '{"key":"b","value":"2"}';

async function read(content: string | Uint8Array): Promise<ReadonlyArray<number>> {
  await writeFile(path, content);
  return (await Array.fromAsync(entryLines(path))).map(({ number }) => number);
}

test.each([
  [`${HEAD}\n${A}\n${B}\n{"end":true,"entries":2}\n`, [2, 3]],
  [`${HEAD}\n{"end":true,"entries":0}`, []],
  [`${A}\n${B}`, [1, 2]],
  [`${A}\n{"end":true,"entries":1}`, [1]],
  ["", []],
])("dump file: the entries of %j are on its lines", async (content, numbers) => {
  expect(await read(content)).toEqual(numbers);
});

test.each([
  [`${HEAD}\n${A}\n`, "line 3: the file ends before it"],
  [`${HEAD}\n${A}\n${B.slice(0, 9)}`, "line 3: it is not JSON"],
  [`${HEAD}\n${A}\n{"end":true,"entries":2}`, "line 3: 1 entries come before it, and it says 2"],
  [`${A}\n{"end":true,"entries":1}\n${B}`, "line 3: it follows the dump's last line"],
  [`${A}\n${HEAD}`, "line 2: a dump's first line can only be the first"],
  [`${A}\n\n${B}`, "line 2: it is empty"],
  [`${A}\n{"key":"..","value":""}`, "line 2: Illegal key name"],
  [`[${A}]`, "line 1: "],
  ["\ufeff" + A, "line 1: it is not JSON"],
])("dump file: %j is refused: %s", async (content, message) => {
  const refusal = await read(content).catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(UsageError);
  expect(String(refusal)).toContain(message);
  expect(String(refusal)).toContain("Nothing was written.");
});

test("dump file: a line that is not UTF-8 is named", async () => {
  const wrong = Buffer.concat([Buffer.from(`${A}\n${A}\n"`), Buffer.of(0xff), Buffer.from('"\n')]);
  await expect(read(wrong)).rejects.toThrow("line 3: it is not valid UTF-8");
});

test("dump file: one that is not there is an error of its own", async () => {
  await expect(Array.fromAsync(entryLines(join(path, "none")))).rejects.toThrow("ENOENT");
});
