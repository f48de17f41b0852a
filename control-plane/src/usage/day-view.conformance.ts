import { randomBytes } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { AccountQuota } from "../accounts/quota.ts";
import { AccountStore } from "../accounts/store.ts";
import { AccountId, NO_DAY_USE, NodeName } from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import { openDatabase } from "../database/open-database.ts";
import { QueryCounter } from "../test-support/query-counter.ts";
import type { TestEngine } from "../test-support/test-engines.ts";
import { UsageDayStore } from "./day-store.ts";
import { DayView } from "./day-view.ts";

const [DAY, NEXT_DAY] = ["2026-11-20", "2026-11-21"] as const;
const [FRA, NRT] = ["fra-1", "nrt-1"].map((name) => NodeName.parse(name)) as [NodeName, NodeName];
const ACCOUNTS = 1_000;
const WRITERS = 4;
const WRITES_EACH = 15;

/** What following the uses of a day promises, on each of the control plane's databases; the engine stays its giver's. */
export function describeDayView(name: string, start: () => Promise<TestEngine>): void {
  describe(`view of a day in ${name}: `, () => {
    const accounts = new AccountStore();
    const days = new UsageDayStore();
    let database: Database;
    /** Of other control planes: with connections of their own, where several can be. */
    let others: ReadonlyArray<Database>;
    beforeAll(async () => {
      const engine = await start();
      const place = await engine.createPlace();
      database = await openDatabase(place);
      const open = () => (engine.isShared ? openDatabase(place) : Promise.resolve(database));
      others = await Promise.all(Array.from({ length: WRITERS }, open));
    });
    beforeEach(async () => {
      await database.deleteFrom("usage_days").execute();
      await database.deleteFrom("accounts").execute();
    });
    afterAll(async () => {
      for (const each of new Set([database, ...others])) await each.destroy();
    });

    async function addAccounts(count: number): Promise<ReadonlyArray<AccountId>> {
      const ids = Array.from({ length: count }, () =>
        AccountId.parse(randomBytes(16).toString("hex")),
      );
      const rows = ids.map((id) => ({ id, name: id, created_at: "2026-01-01T00:00:00.000Z" }));
      await database.insertInto("accounts").values(rows).execute();
      return ids;
    }

    /** As a command beside the control plane does. */
    async function grant(id: AccountId, quota: Partial<AccountQuota>): Promise<void> {
      const other = others[0] ?? database;
      await other.transaction().execute(async (transaction) => {
        const before = await accounts.configured(transaction, id);
        const after = { ...before, quota: { ...before.quota, ...quota } };
        await accounts.configure(transaction, after);
      });
    }

    /** As another control plane stores what a node tells. */
    async function use(
      account: AccountId,
      used: { readonly place?: NodeName; readonly day?: string; readonly requests: number },
      other = others[0] ?? database,
    ): Promise<void> {
      const { place = FRA, day = DAY, requests } = used;
      const added = { account, day, place, use: { ...NO_DAY_USE, requests } };
      const transactions = other.transaction().setIsolationLevel("read committed");
      await transactions.execute(async (transaction) => {
        await days.add(transaction, [added]);
        await nextTurn();
      });
    }

    test("all accounts are read once, and then those of which something changed", async () => {
      const ids = await addAccounts(ACCOUNTS);
      const [first, second, unbound] = ids as [AccountId, AccountId, AccountId];
      const bounded = JSON.stringify({ requestsPerDayMax: 5 });
      await database
        .updateTable("accounts")
        .set({ quota: bounded })
        .where("id", "!=", unbound)
        .execute();
      for (const id of [first, unbound]) await use(id, { requests: 1 });
      const counter = new QueryCounter();
      const view = new DayView(database.withPlugin(counter));
      const follow = async (day: string = DAY) => {
        const changed = await view.follow(day);
        const rows = counter.take().map((query) => query.rows);
        return { changed: [...changed], rows };
      };
      // The number of the latest change, all accounts, and what was used on the day.
      expect((await follow()).rows).toEqual([1, ACCOUNTS, 2]);
      expect([...view.accounts]).toHaveLength(ACCOUNTS - 1);
      expect(await follow()).toEqual({ changed: [], rows: [1] });
      await use(second, { requests: 2, place: NRT });
      expect(await follow()).toEqual({ changed: [second], rows: [1, 0, 1] });
      await grant(first, { requestsPerDayMax: 7 });
      expect(await follow()).toEqual({ changed: [first], rows: [1, 1, 0] });
      expect(view.find(first)).toMatchObject({ bounds: { requestsMax: 7 }, used: { requests: 1 } });
      // Who has a bound only now has used something before.
      await grant(unbound, { requestsPerDayMax: 1 });
      expect(await follow()).toEqual({ changed: [unbound], rows: [1, 1, 1, 0] });
      expect(view.find(unbound)?.used).toMatchObject({ requests: 1 });
      await grant(unbound, { requestsPerDayMax: null });
      expect((await follow()).changed).toEqual([unbound]);
      expect(view.find(unbound)).toBeUndefined();
      await use(unbound, { requests: 3 });
      expect(await follow()).toEqual({ changed: [], rows: [1, 0, 1] });
      // A node whose clock is ahead told of the next day already, which begins without a change.
      await use(second, { requests: 4, day: NEXT_DAY });
      await follow();
      const turned = await follow(NEXT_DAY);
      expect([turned.changed.length, turned.rows]).toEqual([ACCOUNTS - 1, [1, 0, 1]]);
      expect(view.quotaOf(second, NRT)).toMatchObject({
        day: NEXT_DAY,
        elsewhere: { requests: 4 },
      });
      expect(view.find(first)?.used).toEqual(NO_DAY_USE);
    });

    test("of many control planes that write at once, nothing that is committed is missed by the next look", async () => {
      const ids = await addAccounts(3);
      for (const id of ids) await grant(id, { requestsPerDayMax: 1_000 });
      const view = new DayView(database);
      const told = new Map<AccountId, number>();
      const write = async (other: Database, writer: number): Promise<void> => {
        for (let index = 0; index < WRITES_EACH; index += 1) {
          const account = ids[(writer + index) % ids.length] as AccountId;
          await use(account, { requests: 1, place: NodeName.parse(`node-${writer}`) }, other);
          const least = (told.get(account) ?? 0) + 1;
          told.set(account, least);
          await look();
          expect(view.find(account)?.used.requests).toBeGreaterThanOrEqual(least);
        }
      };
      // One at a time, as `DayQuotas` looks.
      let looking: Promise<unknown> = Promise.resolve();
      const look = (): Promise<unknown> => (looking = looking.then(() => view.follow(DAY)));
      await Promise.all(others.map(write));
      await look();
      for (const account of ids) {
        const used = await days.total(database, { day: DAY, account });
        expect(view.find(account)?.used).toEqual(used);
      }
      const total = [...told.values()].reduce((sum, count) => sum + count, 0);
      expect(total).toBe(WRITERS * WRITES_EACH);
    });

    test("a database that was put back to an earlier time is read anew", async () => {
      const [first, second] = (await addAccounts(2)) as [AccountId, AccountId];
      await grant(first, { requestsPerDayMax: 1 });
      await grant(second, { requestsPerDayMax: 1 });
      const view = new DayView(database);
      await use(first, { requests: 2 });
      await view.follow(DAY);
      await database.updateTable("counters").set({ value: 0 }).execute();
      await database.deleteFrom("usage_days").execute();
      await database
        .updateTable("accounts")
        .set({ quota: "{}" })
        .where("id", "=", second)
        .execute();
      expect(await view.follow(DAY)).toEqual(new Set([first, second]));
      expect([view.find(first)?.used, view.find(second)]).toEqual([NO_DAY_USE, undefined]);
    });
  });
}
