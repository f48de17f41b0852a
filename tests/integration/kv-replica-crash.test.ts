import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { LmdbReplica, NamespaceId, systemClock, type Log } from "@atoll/kv-store";
import { expect, test } from "vitest";

const NAMESPACE = NamespaceId.parse("a".repeat(32));
const WRITER = join(import.meta.dirname, "..", "support", "replica-writer.ts");
const KILL_COUNT = 8;
const log: Log = { info: () => {}, warn: () => {}, error: (fields) => console.error(fields) };

/** Lets a writer store `batchCount` batches, kills it in the middle of the next, returns what it last said. */
async function runUntilKilled(directory: string, batchCount: number): Promise<number> {
  const writer = spawn(process.execPath, [WRITER, directory], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(writer, "exit");
  let revision = 0;
  let count = 0;
  for await (const line of createInterface({ input: writer.stdout })) {
    revision = Number(line);
    count += 1;
    if (count === batchCount) writer.kill("SIGKILL");
  }
  await exited;
  return revision;
}

test("KV replica: killed at any moment, it has what it said it stored, and whole batches only", async () => {
  const directory = await mkdtemp(join(tmpdir(), "atoll-replica-crash-"));
  for (let round = 1; round <= KILL_COUNT; round += 1) {
    const said = await runUntilKilled(directory, 20 * round);
    const replica = await LmdbReplica.open({ directory, clock: systemClock, log });
    const revision = replica.revision(NAMESPACE);
    expect(revision).toBeGreaterThanOrEqual(said);
    const held = ["first", "second"].map((key) => {
      const value = replica.get(NAMESPACE, key)?.value;
      return value?.kind === "inline" ? Buffer.from(value.bytes).toString() : undefined;
    });
    expect(held).toEqual([String(revision), String(revision)]);
    await replica.close();
  }
  await rm(directory, { recursive: true });
  for (const end of ["", "-wal", "-shm"]) await rm(`${directory}.sqlite${end}`, { force: true });
});
