import { spawn } from "node:child_process";
import { hash } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { BlobHash } from "@atoll/control-plane/contract";
import { afterEach, beforeEach, expect, test } from "vitest";
import { BlobFiles, type BlobFile } from "./blob-files.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-blobs-"));
});
afterEach(() => rm(directory, { recursive: true }));

function fileOf(content: Uint8Array): BlobFile {
  return { hash: BlobHash.parse(hash("sha256", content, "hex")), content };
}

/** Files in the folders, with what a crash left of others. */
async function names(): Promise<ReadonlyArray<string>> {
  return (await readdir(directory, { recursive: true })).filter((name) => name.includes("/"));
}

// Writes groups of blobs for ever, and says which are on disk.
const WRITER = `
  import { hash, randomBytes } from "node:crypto";
  const [, directory, module] = process.argv;
  const { BlobFiles } = await import(module);
  const files = new BlobFiles(directory);
  for (;;) {
    const blobs = Array.from({ length: 32 }, (_, index) => {
      const content = randomBytes(16 + index * 2_000);
      return { hash: hash("sha256", content, "hex"), content };
    });
    await files.write(blobs);
    await files.sync(blobs.map((blob) => blob.hash));
    for (const blob of blobs) console.log(blob.hash);
  }
`;

test("blob files: a process that is killed leaves whole ones, and all that it said are there", async () => {
  const module = new URL("blob-files.ts", import.meta.url).href;
  const said: BlobHash[] = [];
  for (const groups of [1, 2, 3]) {
    const words = ["--input-type=module", "-e", WRITER, directory, module];
    const writer = spawn(process.execPath, words, { stdio: ["ignore", "pipe", "inherit"] });
    const exited = once(writer, "exit");
    const before = said.length;
    for await (const line of createInterface({ input: writer.stdout })) {
      said.push(BlobHash.parse(line));
      if (said.length === before + groups * 32) writer.kill("SIGKILL");
    }
    await exited;
  }
  const files = new BlobFiles(directory);
  expect(await files.missing(said.map((blob) => ({ blob })))).toEqual([]);
  const whole = (await names()).filter((name) => !name.endsWith(".tmp"));
  for (const name of whole) {
    expect(hash("sha256", await readFile(join(directory, name)))).toBe(basename(name));
  }
  // What was being written goes with what nothing needs.
  await files.prune(new Set(said));
  expect((await names()).map((name) => basename(name)).sort()).toEqual(said.toSorted());
});

test("blob files: one that can't be written keeps nobody else's, and leaves nothing", async () => {
  const blobs = Array.from({ length: 40 }, (_, index) => fileOf(Buffer.from(`content ${index}`)));
  const files = new BlobFiles(directory);
  await files.write(blobs.slice(0, 1));
  // A directory in the place of one of them: it can't be renamed to there.
  const [, broken] = blobs as [BlobFile, BlobFile];
  await new BlobFiles(files.path(broken.hash)).write(blobs.slice(0, 1));
  await expect(files.write(blobs.slice(1))).rejects.toMatchObject({ code: "EISDIR" });
  expect(await files.missing(blobs.map((blob) => ({ blob: blob.hash })))).toEqual([broken.hash]);
  expect((await names()).filter((name) => name.endsWith(".tmp"))).toEqual([]);
});

test("blob files: what an earlier process left half-written is in nobody's way", async () => {
  const blob = fileOf(Buffer.from("content"));
  const files = new BlobFiles(directory);
  await files.write([blob]);
  await writeFile(`${files.path(blob.hash)}.earlier.tmp`, "con");
  await rm(files.path(blob.hash));
  expect(await files.missing([{ blob: blob.hash }])).toEqual([blob.hash]);
  expect(await files.read(blob.hash)).toBeUndefined();
  await files.write([blob]);
  await files.sync([blob.hash]);
  expect(Buffer.from((await files.read(blob.hash)) ?? [])).toEqual(blob.content);
  expect(await files.prune(new Set([blob.hash]))).toBe(1);
  expect(await names()).toHaveLength(1);
});

test("blob files: to sync what is not there is no fault", async () => {
  const files = new BlobFiles(join(directory, "none"));
  const { hash: nothing } = fileOf(Buffer.from("content"));
  await files.sync([nothing]);
  expect(await files.missing([{ blob: nothing }])).toEqual([nothing]);
  expect(await files.prune(new Set())).toBe(0);
});
