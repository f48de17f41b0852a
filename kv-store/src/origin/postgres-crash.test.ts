import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemClock } from "../clock.ts";
import { Key, type KvRecord } from "../entry.ts";
import { NamespaceId, Revision, type HistoryPoint } from "../names.ts";
import { EMPTY_STATE } from "../state-digest.ts";
import { PostgresServer } from "../test-support/postgres-server.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import { waitFor } from "../test-support/wait-for.ts";
import { PostgresOrigin } from "./postgres-origin.ts";
import { SCHEMA } from "./postgres-schema.ts";

const NAMESPACE = NamespaceId.parse("1".repeat(32));
const BEGINNING: HistoryPoint = { revision: Revision.parse(0), digest: EMPTY_STATE };
const WRITER = join(import.meta.dirname, "..", "test-support", "origin-writer.ts");
const KILL_COUNT = 3;
const ROUND_WRITES = 100;

let server: PostgresServer;
let url: string;
let database: string;
let origin: PostgresOrigin;
const closers: Array<() => unknown> = [];

beforeEach(async () => {
  server = await PostgresServer.start();
  database = await server.createDatabase();
  url = server.url(database);
  origin = await PostgresOrigin.open({ url, clock: systemClock, log: new RecordedLog() });
  await origin.createNamespace(NAMESPACE);
}, 60_000);
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
  await origin.close();
  await server.remove();
});

/** A process that writes, and what it was told is written. */
class Writer {
  readonly acknowledged = new Map<string, number>();
  readonly #exited: Promise<unknown>;
  readonly #kill: () => void;

  constructor(name: string) {
    const writer = spawn(process.execPath, [WRITER, url, NAMESPACE, name], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#exited = Promise.all([once(writer, "exit"), once(writer.stdout, "close")]);
    this.#kill = () => writer.kill("SIGKILL");
    createInterface({ input: writer.stdout }).on("line", (line) => {
      const [key = "", revision] = line.split(" ");
      this.acknowledged.set(key, Number(revision));
    });
    closers.push(() => this.kill());
  }

  /** Resolves when that many more writes are acknowledged. */
  async write(count: number): Promise<void> {
    const enough = this.acknowledged.size + count;
    await waitFor(() => expect(this.acknowledged.size).toBeGreaterThan(enough));
  }

  async kill(): Promise<void> {
    this.#kill();
    await this.#exited;
  }
}

/** The whole history, which is shorter than the log may be. */
async function readHistory(): Promise<ReadonlyArray<KvRecord>> {
  const records: KvRecord[] = [];
  for (let after = BEGINNING; ; after = records.at(-1) ?? after) {
    const page = await origin.readLog(NAMESPACE, after);
    if (page.kind !== "records") throw new Error(`the log is ${page.kind} after ${after.revision}`);
    if (page.records.length === 0) return records;
    records.push(...page.records);
  }
}

test("PostgresOrigin: nothing acknowledged is lost when server and writers are killed, and the order has no gap", async () => {
  const writers = [new Writer("fra"), new Writer("iad")];
  const writeAll = (): Promise<unknown> =>
    Promise.all(writers.map((each) => each.write(ROUND_WRITES)));
  for (let round = 0; round < KILL_COUNT; round += 1) {
    await writeAll();
    await server.kill();
    await server.restart();
  }
  await writeAll();
  for (const writer of writers) await writer.kill();

  const acknowledged = new Map(writers.flatMap((writer) => [...writer.acknowledged]));
  expect(acknowledged.size).toBeGreaterThan(2 * ROUND_WRITES * (KILL_COUNT + 1));
  expect(new Set(acknowledged.values()).size).toBe(acknowledged.size);
  // Each key is written once, so there are as many as there are revisions, the unacknowledged ones included.
  const [counted] = await server.query(
    database,
    `SELECT count(*)::int AS keys FROM ${SCHEMA}.entries`,
  );
  const { revision: head } = await origin.point(NAMESPACE);
  expect(counted).toEqual({ keys: head });
  const history = await readHistory();
  expect(history.map(({ revision }) => revision)).toEqual(
    Array.from({ length: head }, (_, index) => index + 1),
  );
  const written = new Map(history.map(({ operation, revision }) => [operation.key, revision]));
  const lost = [...acknowledged].filter(
    ([key, revision]) => written.get(Key.parse(key)) !== revision,
  );
  expect(lost).toEqual([]);
}, 300_000);
