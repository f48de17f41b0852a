import { readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { PostgresServer } from "@atoll/kv-store/test-support/postgres-server";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { IS_THOROUGH, REGIONS, startAtoll, type TestAtoll } from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { KvWorker } from "../support/kv-worker.ts";
import { accountPath } from "../support/refusal.ts";

interface ReplicaStatus {
  readonly node: string;
  readonly revision: number;
  readonly connected: boolean;
  readonly lagMs: number | null;
}

interface NamespaceStatus {
  readonly title: string;
  readonly revision: number;
  readonly keys: number;
  readonly replicas: ReadonlyArray<ReplicaStatus>;
}

/** The commands against a whole Atoll, whose store of keys and values is one or the other. */
// Both stores pass one conformance suite, and with SQLite the last test here ends on PostgreSQL.
const STORES = IS_THOROUGH ? ["SQLite", "PostgreSQL"] : ["SQLite"];

describe.each(STORES)("kv management with %s", (store) => {
  let postgres: PostgresServer | undefined;
  let atoll: TestAtoll;
  let worker: KvWorker;
  let id: string;

  beforeAll(async () => {
    postgres = store === "PostgreSQL" ? await PostgresServer.start() : undefined;
    const database = await postgres?.createDatabase();
    const url = database === undefined ? undefined : postgres?.url(database);
    const environment = url === undefined ? {} : { ATOLL_KV_DATABASE: url };
    atoll = await startAtoll({ environment });
    worker = await KvWorker.deploy(atoll, { title: "words" });
    id = worker.namespace;
  }, 120_000);
  afterAll(async () => {
    await atoll.stop();
    await postgres?.remove();
  });

  const run = (...parameters: ReadonlyArray<string>) => atoll.atoll(["kv", ...parameters]);

  async function succeed(...parameters: ReadonlyArray<string>): Promise<string> {
    const { exitCode, output } = await run(...parameters);
    expect(exitCode, output).toBe(0);
    return output;
  }

  async function status(): Promise<NamespaceStatus> {
    const output = await succeed("status", "words", "--json");
    const { namespaces } = JSON.parse(output) as { namespaces: ReadonlyArray<NamespaceStatus> };
    const [namespace] = namespaces;
    if (namespace === undefined) throw new Error(output);
    return namespace;
  }

  const file = (name: string): string => join(atoll.dataDirectory, name);

  test("status, check, export, import and restore do what they say", async () => {
    await worker.result("iad", "put", "text", "one", { metadata: { lang: "en" } });
    await worker.result("fra", "put", "bytes", {
      $bytes: Buffer.from([0xff, 0]).toString("base64"),
    });
    await worker.result("nrt", "put", "large", { $length: 70_000 });
    const all = await eventually(
      async () => {
        const seen = await status();
        const isEverywhere = seen.replicas.every(({ revision }) => revision === seen.revision);
        return seen.replicas.length === 3 && isEverywhere && seen;
      },
      { what: "every node has all of it, and has told so" },
    );
    expect(all).toMatchObject({ title: "words", revision: 3, keys: 3 });
    expect(all.replicas.map(({ node, connected }) => [node, connected])).toEqual([
      ...[
        ["fra", true],
        ["iad", true],
        ["nrt", true],
      ],
    ]);
    expect(await succeed("status")).toMatch(/account .*: 3 keys, .*words.*nrt.* B.* all /s);
    expect(await succeed("check")).toMatch(/words .*sound at the origin.*Nothing differs\./s);
    expect(await succeed("check", id, "--content")).toContain("fra, revision 3: the same as");

    await succeed("export", "words", file("before.jsonl"));
    const lines = (await readFile(file("before.jsonl"), "utf8")).trimEnd().split("\n");
    expect(lines).toHaveLength(5);
    expect(lines.at(-1)).toBe('{"end":true,"entries":3}');
    expect(lines).toContain('{"key":"text","value":"one","metadata":"{\\"lang\\":\\"en\\"}"}');
    expect((await stat(file("before.jsonl"))).mode & 0o077).toBe(0);

    const moment = new Date().toISOString();
    await new Promise((resolve) => setImmediate(resolve));
    await eventually(() => new Date().toISOString() > moment, { what: "the next millisecond" });
    await worker.result("iad", "put", "text", "two");
    await worker.result("iad", "delete", "large");
    await worker.result("iad", "put", "added", "two");
    expect(await succeed("restore", "words", "--at", moment, "--dry-run")).toContain(
      "2 keys would be restored and 1 removed",
    );
    expect(await worker.result("iad", "get", "text")).toBe("two");
    expect(await succeed("restore", "words", "--at", moment)).toContain(
      "2 keys were restored and 1 removed",
    );
    for (const region of REGIONS) {
      await eventually(async () => (await worker.result(region, "get", "text")) === "one", {
        what: `${region} follows the restore`,
      });
    }
    await succeed("export", "words", file("after.jsonl"));
    const restored = (await readFile(file("after.jsonl"), "utf8")).trimEnd().split("\n");
    expect(restored.slice(1)).toEqual(lines.slice(1));

    for (const key of ["text", "bytes", "large"]) await worker.result("iad", "delete", key);
    expect(await succeed("import", id, file("before.jsonl"))).toContain("3 entries imported");
    expect(await worker.result("iad", "getWithMetadata", "text")).toMatchObject({
      ...{ value: "one", metadata: { lang: "en" } },
    });
    expect(await succeed("export", "words", "--at", moment)).toContain('"entries":3}');
    expect(await succeed("check", "words")).toContain("Nothing differs.");
  });

  // This and what follows is the same with either, and starts many processes.
  test.skipIf(store === "PostgreSQL")(
    "what is wrong is refused with its reason, and changes nothing",
    async () => {
      const before = await status();
      const refusals: ReadonlyArray<readonly [ReadonlyArray<string>, string]> = [
        [["export", "nowhere"], "There is no KV namespace 'nowhere'"],
        [["restore", "words", "--at", "2001-01-01T00:00:00Z"], "the earliest possible is"],
        [["restore", "words", "--at", "yesterday"], "A moment is a date such as"],
        [["export", "words", "--at", "2101-01-01T00:00:00Z"], "is still to come"],
        [["import", "words", file("none.jsonl")], "ENOENT"],
        [
          ["migrate", "--data", file("nowhere"), "--kv-database", "postgres://x@127.0.0.1:1/x"],
          "does not exist",
        ],
        [["recreate", "--data", file("nowhere")], "does not exist"],
      ];
      for (const [parameters, reason] of refusals) {
        const { exitCode, output } = await run(...parameters);
        expect(output).toContain(reason);
        expect(exitCode).toBe(1);
      }
      const cut = '{"key":"new","value":"1"}\n{"key":"other","value":';
      await writeFile(file("cut.jsonl"), cut);
      const imported = await run("import", "words", file("cut.jsonl"));
      expect(imported).toMatchObject({
        ...{ exitCode: 1, output: expect.stringContaining("line 2: it is not JSON. Nothing was") },
      });
      expect(await status()).toMatchObject({ revision: before.revision, keys: before.keys });
    },
  );

  test.skipIf(store === "PostgreSQL")(
    "an account's bounds hold for workers, wrangler and imports alike, and are shown",
    async () => {
      const account = atoll.variables["CLOUDFLARE_ACCOUNT_ID"] ?? "";
      const data = join(atoll.dataDirectory, "control-plane");
      const set = (...bounds: ReadonlyArray<string>) =>
        atoll.atoll(["account", "set", account, ...bounds, "--data", data]);
      const { keys } = await status();
      expect(await set("--kv-keys", `${keys + 1}`)).toMatchObject({ exitCode: 0 });
      await worker.result("iad", "put", "last", "1");
      const error = await eventually(
        async () => (await worker.call("iad", "put", `over-${Math.random()}`, "1")).error,
        { what: "the origin knows the bound" },
      );
      expect(error).toMatch(/^KV PUT failed: 413 The account's KV namespaces would have/);
      const put = ["kv", "key", "put", "more", "1", "--namespace-id", id, "--remote"];
      const refused = await atoll.wrangler(atoll.dataDirectory, put);
      expect(refused.output).toContain("over its limit of");
      expect(refused.exitCode).toBe(1);
      await writeFile(file("more.jsonl"), '{"key":"more","value":"1"}\n');
      expect(await run("import", "words", file("more.jsonl"))).toMatchObject({
        ...{ exitCode: 1, output: expect.stringContaining("Nothing was written") },
      });
      expect(await succeed("status")).toMatch(new RegExp(`\\d+ of ${keys + 1} keys`));

      // An import takes its time where a rate holds it up.
      expect(await set("--kv-keys", "none", "--kv-writes-per-second", "1")).toMatchObject({
        exitCode: 0,
      });
      await eventually(
        async () => (await succeed("status")).includes("at most 1 writes per second"),
        { what: "the rate is set" },
      );
      await eventually(
        async () => {
          const writes = Array.from({ length: 9 }, () => worker.call("fra", "put", "rate", "1"));
          const errors = (await Promise.all(writes)).flatMap(({ error }) => error ?? []);
          return errors.some((each) => each.startsWith("KV PUT failed: 429 Too Many Requests"));
        },
        { what: "the rate holds" },
      );
      const many = Array.from({ length: 2 }, (_, index) => `{"key":"m${index}","value":"1"}`);
      await writeFile(file("many.jsonl"), many.join("\n"));
      expect(await succeed("import", "words", file("many.jsonl"))).toContain("2 entries imported");

      // It does not wait for the next day.
      const none = ["--kv-writes-per-day", "0", "--kv-reads-per-day", "0"];
      expect(await set("--kv-writes-per-second", "none", ...none)).toMatchObject({ exitCode: 0 });
      await eventually(
        async () => (await worker.call("fra", "put", "rate", "1")).error !== undefined,
        { what: "the day's bound is known" },
      );
      expect(await run("import", "words", file("many.jsonl"))).toMatchObject({
        ...{ exitCode: 1, output: expect.stringContaining("may make 0 writes until midnight UTC") },
      });
      const get = ["kv", "key", "get", "more", "--namespace-id", id, "--remote"];
      const unread = await atoll.wrangler(atoll.dataDirectory, get);
      expect(unread.exitCode).toBe(1);
      // It shows the status of what it gets, and the message of all else.
      expect(unread.output).toContain("429: Too Many Requests");
      const lifted = ["--kv-writes-per-day", "none", "--kv-reads-per-day", "none"];
      expect(await set(...lifted)).toMatchObject({ exitCode: 0 });
      await rm(file("many.jsonl"));
    },
  );

  test.skipIf(store === "PostgreSQL")(
    "a store moves to PostgreSQL, and nodes go on from where they were",
    async () => {
      postgres = await PostgresServer.start();
      const url = postgres.url(await postgres.createDatabase());
      const data = join(atoll.dataDirectory, "control-plane");
      const value = accountPath(atoll, `/storage/kv/namespaces/${id}/values/k`);
      await atoll.api(value, { method: "PUT", body: "before" });
      const { keys } = await status();
      const migrate = ["kv", "migrate", "--data", data, "--kv-database", url];
      const busy = await atoll.atoll(migrate);
      expect(busy).toMatchObject({ exitCode: 1 });
      expect(busy.output).toContain("stop the control plane first");
      const checkStore = ["kv", "check-store", "--data", data];
      expect(await atoll.atoll(checkStore)).toMatchObject({ exitCode: 0 });
      await atoll.pause();
      const moved = await atoll.atoll(migrate);
      expect(moved.output).toContain(`namespaces with ${keys} keys are in the database`);
      // Without the database it finds no store that has the namespace, and says so.
      const missing = await atoll.atoll(["kv", "recreate", "--data", data]);
      expect(missing.output).toContain(id);
      await rm(join(data, "kv.sqlite"));
      expect((await atoll.atoll(checkStore)).output).toContain("kv.sqlite does not exist");
      const checked = await atoll.atoll([...checkStore, "--kv-database", url]);
      expect(checked.output).toContain("Nothing is wrong.");
      await atoll.resume({ ATOLL_KV_DATABASE: url });
      expect((await atoll.api(value)).body).toBe("before");
      expect(await succeed("check")).toContain("Nothing differs.");
    },
  );
});
