import { sql, type ColumnMetadata } from "kysely";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { AccountId, WorkerName } from "../contract/index.ts";
import { Mutations, readRevision } from "../desired-state/mutations.ts";
import { LIMITS } from "../limits.ts";
import { TestClock } from "../test-support/test-clock.ts";
import type { TestEngine } from "../test-support/test-engines.ts";
import type { Database, DatabasePlace } from "./database.ts";
import { MIGRATIONS } from "./migrations/index.ts";
import { openDatabase } from "./open-database.ts";

const ACCOUNT = { id: "a".repeat(32), name: "A", created_at: "2026-01-01T00:00:00.000Z" };
const ACTOR = { account: AccountId.parse(ACCOUNT.id), tokenId: "test" };
const WRITERS = 8;
const MUTATIONS_EACH = 15;

/** What a database of the control plane promises, whichever engine it is; the engine stays its giver's. */
export function describeDatabase(name: string, start: () => Promise<TestEngine>): void {
  describe(`database in ${name}: `, () => {
    let engine: TestEngine;
    const opened: Database[] = [];
    beforeAll(async () => {
      engine = await start();
    });
    afterEach(async () => {
      await Promise.all(opened.splice(0).map((database) => database.destroy()));
    });
    async function open(place: DatabasePlace): Promise<Database> {
      const database = await openDatabase(place);
      opened.push(database);
      return database;
    }
    const create = async (): Promise<Database> => open(await engine.createPlace());

    /** As several control planes have it; where only one can, its one connection. */
    async function openSeveral(count: number): Promise<ReadonlyArray<Database>> {
      const place = await engine.createPlace();
      const first = await open(place);
      const others = Array.from({ length: count - 1 }, () =>
        engine.isShared ? open(place) : Promise.resolve(first),
      );
      return [first, ...(await Promise.all(others))];
    }

    test("what was written is there when it is opened again", async () => {
      const place = await engine.createPlace();
      const first = await open(place);
      await first.insertInto("accounts").values(ACCOUNT).execute();
      const second = await open(place);
      expect(await second.selectFrom("accounts").selectAll().execute()).toMatchObject([ACCOUNT]);
    });

    test("tables that a later version has made are left to it", async () => {
      const place = await engine.createPlace();
      const first = await open(place);
      await sql`insert into kysely_migration values ('9999-later', '2030-01-01')`.execute(first);
      await expect(open(place)).rejects.toThrow(/of a newer Atoll.* 9999-later: start that one/);
    });

    test("references are enforced, and what belongs to a row goes with it", async () => {
      const database = await create();
      const token = { id: "t", account_id: "nobody", name: "", token_hash: "", created_at: "" };
      const orphan = database.insertInto("api_tokens").values(token).execute();
      await expect(orphan).rejects.toThrow(/foreign key/i);
      await insertWorker(database);
      const route = {
        id: "r",
        account_id: ACCOUNT.id,
        worker_id: "w",
        pattern: "a/*",
        host_key: "a",
      };
      const row = { ...route, kind: "route" as const, created_at: "" };
      await database.insertInto("routes").values(row).execute();
      await database.deleteFrom("workers").execute();
      expect(await database.selectFrom("routes").selectAll().execute()).toEqual([]);
    });

    test("a transaction that fails leaves nothing", async () => {
      const database = await create();
      const failing = database.transaction().execute(async (transaction) => {
        await transaction.insertInto("accounts").values(ACCOUNT).execute();
        throw new Error("changed its mind");
      });
      await expect(failing).rejects.toThrow("changed its mind");
      expect(await database.selectFrom("accounts").selectAll().execute()).toEqual([]);
    });

    test("a statement that fails ends its transaction alone", async () => {
      const database = await create();
      await database.insertInto("accounts").values(ACCOUNT).execute();
      const doubled = database
        .transaction()
        .execute((transaction) => transaction.insertInto("accounts").values(ACCOUNT).execute());
      await expect(doubled).rejects.toThrow(/unique/i);
      await insertWorker(database);
      expect(await database.selectFrom("workers").select("name").execute()).toHaveLength(1);
    });

    test("numbers come back as numbers, 64 bits and sums included", async () => {
      const database = await create();
      const large = 2 ** 52 + 1;
      await database
        .insertInto("accounts")
        .values({ ...ACCOUNT, kv_bytes_max: large })
        .execute();
      const row = await database
        .selectFrom("accounts")
        .select((expression) => [
          "memory_mib",
          "kv_bytes_max",
          "kv_keys_max",
          expression.fn.sum<number>("kv_bytes_max").as("sum"),
          expression.fn.countAll<number>().as("count"),
        ])
        .groupBy(["memory_mib", "kv_bytes_max", "kv_keys_max"])
        .executeTakeFirst();
      const expected = { memory_mib: 128, kv_bytes_max: large, kv_keys_max: null };
      expect(row).toEqual({ ...expected, sum: large, count: 1 });
    });

    test("texts are what was written, and sort by their bytes", async () => {
      const database = await create();
      const names = ["B", "a", "a b", "a-b", "a.b", "a/b", "ab", "é", "\u{1f30d}", "\n'\"\\"];
      for (const name of names) {
        await database
          .insertInto("accounts")
          .values({ ...ACCOUNT, id: name, name })
          .execute();
      }
      const sorted = await database.selectFrom("accounts").select("name").orderBy("id").execute();
      const expected = names.toSorted((left, right) =>
        Buffer.from(left).compare(Buffer.from(right)),
      );
      expect(sorted.map(({ name }) => name)).toEqual(expected);
      const between = database.selectFrom("accounts").select("name").where("id", ">", "a.");
      const found = await between.where("id", "<", "a/").execute();
      expect(found).toEqual([{ name: "a.b" }]);
    });

    test("a list of nothing finds nothing, and leaves nothing out", async () => {
      const database = await create();
      await database.insertInto("accounts").values(ACCOUNT).execute();
      const accounts = database.selectFrom("accounts").select("id");
      expect(await accounts.where("id", "in", []).execute()).toEqual([]);
      expect(await accounts.where("id", "not in", []).execute()).toHaveLength(1);
    });

    test("what a writer has read stays true until it is committed", async () => {
      const databases = await openSeveral(2);
      const insertUpTo = async (database: Database, max: number, id: string): Promise<void> => {
        await database.transaction().execute(async (transaction) => {
          const { length } = await transaction.selectFrom("accounts").select("id").execute();
          if (length < max) {
            await transaction
              .insertInto("accounts")
              .values({ ...ACCOUNT, id })
              .execute();
          }
        });
      };
      await Promise.all(
        Array.from({ length: 20 }, (_, index) =>
          insertUpTo(databases[index % 2] as Database, 5, `account-${index}`),
        ),
      );
      const [database] = databases as [Database];
      expect(await database.selectFrom("accounts").select("id").execute()).toHaveLength(5);
    });

    test("what a reader reads is of one moment", async () => {
      const [database, other] = (await openSeveral(2)) as [Database, Database];
      await database.insertInto("accounts").values(ACCOUNT).execute();
      const reading = database.transaction().setAccessMode("read only");
      const updating = await reading.execute(async (transaction) => {
        const accounts = transaction.selectFrom("accounts").select("name");
        expect(await accounts.execute()).toEqual([{ name: "A" }]);
        const update = other.updateTable("accounts").set({ name: "B" }).execute();
        if (engine.isShared) await update;
        expect(await accounts.execute()).toEqual([{ name: "A" }]);
        // Not waited for in here, where there is one connection for both.
        return { update };
      });
      await updating.update;
      expect(await database.selectFrom("accounts").select("name").execute()).toEqual([
        { name: "B" },
      ]);
    });

    test("the outbox keeps its order under many writers: a reader of a revision sees all below it", async () => {
      // Each writer with connections of its own, as control planes have.
      const [database, reader, ...writers] = (await openSeveral(2 + WRITERS)) as [
        Database,
        Database,
        ...Database[],
      ];
      await database.insertInto("accounts").values(ACCOUNT).execute();
      const total = WRITERS * MUTATIONS_EACH;
      let isOver = false;
      const watching = watchOutbox(reader, () => isOver);
      await Promise.all(
        writers.map((writer, index) => write(new Mutations({ database: writer, clock }), index)),
      );
      isOver = true;
      await watching;
      const rows = await database
        .selectFrom("state_changes")
        .select("revision")
        .orderBy("revision")
        .execute();
      expect(rows.map(({ revision }) => revision)).toEqual(
        Array.from({ length: total }, (_, index) => index + 1),
      );
      expect(await readRevision(database)).toBe(total);
      const audited = await database.selectFrom("audit").select("sequence").execute();
      expect(new Set(audited.map(({ sequence }) => sequence)).size).toBe(total);
    }, 60_000);

    test("an installation of any earlier time becomes what a new one is, and keeps what it has", async () => {
      const columnsOf = async (database: Database) => {
        const tables = await database.introspection.getTables();
        return new Map(tables.map(({ name, columns }) => [name, columns.map(describeColumn)]));
      };
      const fresh = await columnsOf(await create());
      for (const migration of Object.keys(MIGRATIONS)) {
        const place = await engine.createPlace();
        const earlier = await engine.openAsOf(place, migration);
        await earlier.insertInto("accounts").values(ACCOUNT).execute();
        await insertWorker(earlier);
        await earlier.destroy();
        const database = await open(place);
        expect(await columnsOf(database), migration).toEqual(fresh);
        const accounts = await database.selectFrom("accounts").selectAll().execute();
        expect(accounts, migration).toMatchObject([{ ...ACCOUNT, cells: "per-worker" }]);
        expect(await database.selectFrom("workers").select("name").execute()).toHaveLength(1);
      }
    }, 60_000);

    test("processes that make the tables at the same time make them once", async (context) => {
      context.skip(!engine.isShared, "see TestEngine.isShared");
      const place = await engine.createPlace();
      const databases = await Promise.all(Array.from({ length: 4 }, () => open(place)));
      for (const database of databases) {
        expect(await database.selectFrom("accounts").select("id").execute()).toEqual([]);
      }
    });
  });
}

const clock = new TestClock();

/** A writer's mutations, of a few of which each has several revisions or none. */
async function write(mutations: Mutations, writer: number): Promise<void> {
  for (let index = 0; index < MUTATIONS_EACH; index += 1) {
    const worker = WorkerName.parse(`worker-${writer}`);
    await mutations.run(ACTOR, async (mutation) => {
      await mutation.changed(worker);
      await mutation.audit({ action: "test", subject: worker });
    });
  }
}

/** Fails when a reader sees a revision without one that lies below it. */
async function watchOutbox(database: Database, isOver: () => boolean): Promise<void> {
  let seen = 0;
  while (!isOver()) {
    const reading = database.transaction().setAccessMode("read only");
    seen = await reading.execute(async (transaction) => {
      const revision = await readRevision(transaction);
      const rows = await transaction
        .selectFrom("state_changes")
        .select("revision")
        .where("revision", ">", seen)
        .execute();
      expect(revision).toBeLessThanOrEqual(LIMITS.stateChangesMax);
      expect(rows.length, `between ${seen} and ${revision}`).toBe(revision - seen);
      return revision;
    });
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function describeColumn({ name, dataType, isNullable, hasDefaultValue }: ColumnMetadata): string {
  return [name, dataType.toLowerCase(), isNullable, hasDefaultValue].join(" ");
}

async function insertWorker(database: Database): Promise<void> {
  const { length } = await database.selectFrom("accounts").select("id").execute();
  if (length === 0) await database.insertInto("accounts").values(ACCOUNT).execute();
  await database
    .insertInto("workers")
    .values({
      ...{ id: "w", account_id: ACCOUNT.id, name: "hello", created_at: "", modified_at: "" },
      ...{ is_on_subdomain: 1, has_previews: 0, settings: "{}", version_number: 1 },
    })
    .execute();
}
