import { randomBytes } from "node:crypto";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { AccountQuota } from "../accounts/quota.ts";
import { AccountId, NO_DAY_USE, NodeName, type DayUse } from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import { openDatabase } from "../database/open-database.ts";
import { QueryCounter } from "../test-support/query-counter.ts";
import { TestClock } from "../test-support/test-clock.ts";
import type { TestEngine } from "../test-support/test-engines.ts";
import type { KvCharge } from "./charge-store.ts";
import { UsageDayStore } from "./day-store.ts";
import { KvCharges } from "./kv-charges.ts";

const [READS, LISTS] = ["daily_reads_exceeded", "daily_lists_exceeded"];
const DAY = "2026-11-20";
const NODE = NodeName.parse("fra-1");
const HALF_DAY_MS = 12 * 60 * 60 * 1_000;

/** What charges to an account's day promise, on each of the control plane's databases; the engine stays its giver's. */
export function describeKvCharges(name: string, start: () => Promise<TestEngine>): void {
  describe(`charges of KV in ${name}: `, () => {
    let database: Database;
    /** As control planes have them: each with connections of its own, where several can be. */
    let databases: ReadonlyArray<Database>;
    let clock: TestClock;
    let ours: AccountId;
    let theirs: AccountId;
    const opened: KvCharges[] = [];
    beforeAll(async () => {
      const engine = await start();
      const place = await engine.createPlace();
      database = await openDatabase(place);
      databases = [database, engine.isShared ? await openDatabase(place) : database];
    });
    beforeEach(async () => {
      clock = new TestClock();
      ours = await addAccount();
      theirs = await addAccount();
    });
    afterEach(() => Promise.all(opened.splice(0).map((charges) => charges.close())));
    afterAll(async () => {
      for (const each of new Set(databases)) await each.destroy();
    });

    async function addAccount(): Promise<AccountId> {
      const id = AccountId.parse(randomBytes(16).toString("hex"));
      const account = { id, name: id, created_at: "2026-01-01T00:00:00.000Z" };
      await database.insertInto("accounts").values(account).execute();
      return id;
    }

    function open(over: Database): KvCharges {
      const charges = new KvCharges({ database: over, clock, log: pino({ level: "silent" }) });
      opened.push(charges);
      return charges;
    }

    async function grant(account: AccountId, quota: Partial<AccountQuota>): Promise<void> {
      const changed = database.updateTable("accounts").set({ quota: JSON.stringify(quota) });
      await changed.where("id", "=", account).execute();
    }

    async function useOnNode(use: Partial<DayUse>): Promise<void> {
      const added = { account: ours, day: DAY, place: NODE, use: { ...NO_DAY_USE, ...use } };
      const transactions = database.transaction();
      await transactions.execute((transaction) => new UsageDayStore().add(transaction, [added]));
    }

    async function used(account = ours, day = DAY): Promise<readonly [number, number]> {
      const { kvReads, kvLists } = await new UsageDayStore().total(database, { day, account });
      return [kvReads, kvLists];
    }

    test("of many calls at once, at two control planes, exactly as many are let through as fit", async () => {
      await grant(ours, { kvReadsPerDayMax: 100, kvListsPerDayMax: 30 });
      await useOnNode({ kvReads: 10, kvLists: 1 });
      const planes = databases.map(open);
      /** Calls until one is refused; resolves with how much was let through. */
      const callUntilRefused = async (charges: KvCharges, charge: KvCharge): Promise<number> => {
        for (let sum = 0; ; sum += charge.count) {
          const [refusal] = await outcomesOf(charges.charge(ours, charge));
          if (refusal === undefined) continue;
          expect(refusal).toBe(charge.use === "read" ? READS : LISTS);
          return sum;
        }
      };
      const callAll = async (use: KvCharge["use"], ...counts: ReadonlyArray<number>) => {
        const calls = planes.flatMap((charges) =>
          counts.map((count) => callUntilRefused(charges, { use, count })),
        );
        return (await Promise.all(calls)).reduce((sum, count) => sum + count, 0);
      };
      const others = planes.map((each) => each.charge(theirs, { use: "read", count: 1_000 }));
      const [reads, lists] = await Promise.all([callAll("read", 1, 1, 7), callAll("list", 1)]);
      expect([reads, lists]).toEqual([90, 29]);
      expect(await used()).toEqual([100, 30]);
      expect(await outcomesOf(...others)).toEqual([undefined, undefined]);
    });

    test("of two calls for the last one that is left, at two control planes, one is let through", async () => {
      const planes = databases.map(open);
      for (let max = 1; max <= 20; max += 1) {
        await grant(ours, { kvListsPerDayMax: max });
        const calls = planes.map((charges) => charges.charge(ours, { use: "list", count: 1 }));
        const outcomes = await outcomesOf(...calls);
        expect(new Set(outcomes), `${max}`).toEqual(new Set([undefined, LISTS]));
      }
      expect(await used()).toEqual([0, 20]);
    });

    test("a call is taken whole or not at all, and a smaller one still fits", async () => {
      await grant(ours, { kvReadsPerDayMax: 10 });
      const charges = open(database);
      for (const [count, outcome] of [
        [8, undefined],
        [3, READS],
        [2, undefined],
        [1, READS],
      ] as const) {
        const call = charges.charge(ours, { use: "read", count });
        expect(await outcomesOf(call), `${count}`).toEqual([outcome]);
      }
      await expect(charges.charge(ours, { use: "read", count: 1 })).rejects.toThrow(
        "Too Many Requests: KV get() limit exceeded for the day. The account may make 10 reads until midnight UTC.",
      );
      expect(await used()).toEqual([10, 0]);
    });

    test("a control plane that starts anew goes on from there, until the next day begins", async () => {
      await grant(ours, { kvListsPerDayMax: 2 });
      const list = { use: "list", count: 1 } as const;
      expect(await outcomesOf(open(database).charge(ours, list))).toEqual([undefined]);
      // The first one is not closed: it was killed.
      const next = open(databases.at(-1) as Database);
      expect(await outcomesOf(next.charge(ours, list))).toEqual([undefined]);
      expect(await outcomesOf(next.charge(ours, list))).toEqual([LISTS]);
      clock.advanceMs(HALF_DAY_MS - 1);
      expect(await outcomesOf(next.charge(ours, list))).toEqual([LISTS]);
      clock.advanceMs(1);
      expect(await outcomesOf(next.charge(ours, list))).toEqual([undefined]);
      expect([await used(), await used(ours, "2026-11-21")]).toEqual([
        [0, 2],
        [0, 1],
      ]);
    });

    test("what was read before there was a bound counts, and a bound that is raised lets through", async () => {
      const charges = open(database);
      const read = (count: number) => charges.charge(ours, { use: "read", count });
      expect(await outcomesOf(read(3), read(2))).toEqual([undefined, undefined]);
      await charges.store();
      expect(await used()).toEqual([5, 0]);
      await read(2);
      await grant(ours, { kvReadsPerDayMax: 8 });
      expect(await outcomesOf(read(1))).toEqual([undefined]);
      expect(await used()).toEqual([8, 0]);
      await grant(ours, { kvReadsPerDayMax: 0 });
      expect(await outcomesOf(read(1))).toEqual([READS]);
      await grant(ours, { kvReadsPerDayMax: 9 });
      expect(await outcomesOf(read(1))).toEqual([undefined]);
      expect(await outcomesOf(read(1))).toEqual([READS]);
      await grant(ours, {});
      await read(4);
      await charges.close();
      expect(await used()).toEqual([13, 0]);
    });

    test("calls that wait share a transaction, and those without a bound wait for none", async () => {
      await grant(ours, { kvReadsPerDayMax: 1_000 });
      const counter = new QueryCounter();
      const charges = open(database.withPlugin(counter));
      const calls = Array.from({ length: 50 }, () =>
        charges.charge(ours, { use: "read", count: 1 }),
      );
      await Promise.all(calls);
      expect(await used()).toEqual([50, 0]);
      // Two of each transaction: for those that came first, and for those that came meanwhile.
      expect(counter.take().filter(({ kind }) => kind === "InsertQueryNode").length).toBeLessThan(
        20,
      );
      await charges.charge(theirs, { use: "read", count: 1 });
      expect(counter.take().map(({ kind }) => kind)).toEqual(["SelectQueryNode"]);
    });

    test("where the database refuses, calls with a bound fail, and what others did is stored later", async () => {
      await grant(ours, { kvReadsPerDayMax: 10 });
      const charges = open(database);
      await charges.charge(theirs, { use: "read", count: 3 });
      await database.schema.alterTable("usage_days").renameTo("usage_days_away").execute();
      const failing = charges.charge(ours, { use: "read", count: 1 });
      await expect(failing).rejects.toThrow("usage_days");
      await database.schema.alterTable("usage_days_away").renameTo("usage_days").execute();
      await charges.charge(theirs, { use: "read", count: 2 });
      await charges.store();
      expect([await used(), await used(theirs)]).toEqual([
        [0, 0],
        [5, 0],
      ]);
    });
  });
}

/** With which codes calls are refused. */
async function outcomesOf(
  ...calls: ReadonlyArray<Promise<void>>
): Promise<ReadonlyArray<string | undefined>> {
  const settled = await Promise.allSettled(calls);
  return settled.map((each) => (each.status === "fulfilled" ? undefined : each.reason.code));
}
