import { PostgresServer } from "@atoll/kv-store/test-support/postgres-server";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import { sql } from "kysely";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";
import { TurnedClock } from "../test-support/turned-clock.ts";
import { createLimiters, LIMITED } from "./rate-limits.ts";
import { SharedRates } from "./shared-rates.ts";

const RATES = { address: { perSecond: 20, burst: 100 }, token: { perSecond: 4, burst: 20 } };

describe("shared rates: ", () => {
  const clock = new TurnedClock();

  /** Some control planes that hear each other at once, and what they tell. */
  function fleet(count: number) {
    const told: string[] = [];
    const members = Array.from({ length: count }, () => {
      const limiters = createLimiters(clock, RATES);
      const tell = (text: string): void => {
        told.push(text);
        for (const other of members) if (other.limiters !== limiters) other.shared.take(text);
      };
      return { limiters, shared: new SharedRates({ limiters, clock, tell }) };
    });
    return { members, told };
  }

  test.each([2, 3, 5])(
    "who asks %i control planes as often as it can gets what one gives, and the burst of each at first",
    (count) => {
      const { members } = fleet(count);
      const { perSecond, burst } = RATES.token;
      const seconds = 600;
      let given = 0;
      for (let second = 0; second < seconds; second += 1) {
        for (const { limiters } of members) while (limiters.token.take("t") === 0) given += 1;
        clock.turn();
        clock.advanceMs(1_000);
      }
      expect(given).toBeGreaterThanOrEqual(perSecond * (seconds - 1));
      expect(given).toBeLessThanOrEqual(count * burst + perSecond * seconds);
      for (const { shared } of members) shared.close();
    },
  );

  test("who asks one control plane gets all of it there", () => {
    const { members, told } = fleet(2);
    const [first, second] = members;
    for (let asked = 0; asked < RATES.token.burst; asked += 1) {
      expect(first?.limiters.token.take("t")).toBe(0);
      clock.turn();
    }
    expect(first?.limiters.token.take("t")).toBe(1);
    expect(second?.limiters.token.take("t")).toBe(1);
    expect(second?.limiters.token.take("other")).toBe(0);
    expect(told.length).toBe(RATES.token.burst);
    for (const { shared } of members) shared.close();
  });

  test("nobody is kept out for longer than two bursts take to come back, whatever was used elsewhere", () => {
    const { token } = createLimiters(clock, RATES);
    for (let told = 0; told < 100; told += 1) token.spend({ key: "t", count: 1_000_000 });
    const { perSecond, burst } = RATES.token;
    clock.advanceMs(((2 * burst) / perSecond) * 1_000);
    for (let asked = 0; asked < burst; asked += 1) expect(token.take("t")).toBe(0);
  });

  test("everyday calls are not told of, and those who ask most before others", () => {
    const told: string[] = [];
    const limiters = createLimiters(clock);
    const shared = new SharedRates({ limiters, clock, tell: (text) => told.push(text) });
    const least = LIMITS.tokenRequestsPerSecond * LIMITS.sharedUsesPart;
    for (let asked = 1; asked < least; asked += 1) limiters.token.take("t");
    clock.turn();
    expect(told).toEqual([]);
    for (let asked = 0; asked < least; asked += 1) limiters.token.take("t");
    clock.turn();
    expect(told.map((text) => JSON.parse(text) as unknown)).toEqual([[["token", "t", least]]]);
    told.length = 0;
    for (let key = 0; key < 2 * LIMITS.sharedUsesMax; key += 1) {
      const name = `network-${key}`.padEnd(45, "x");
      const count = key < LIMITS.sharedUsesMax ? 20 : 10;
      for (let asked = 0; asked < count; asked += 1) limiters.address.take(name);
    }
    clock.turn();
    const uses = told.flatMap((text) => JSON.parse(text) as Array<[string, string, number]>);
    expect(uses.length).toBe(LIMITS.sharedUsesMax);
    expect(uses.every(([, , count]) => count === 20)).toBe(true);
    for (const text of told) expect(Buffer.byteLength(text)).toBeLessThan(7_900);
    shared.close();
  });

  test.each(["", "{", "[]", '[["token","t"]]', '[["token","t",-5]]', '[["colour","t",5]]'])(
    "what is no news of uses, as '%s', changes nothing",
    (text) => {
      const { members } = fleet(1);
      members[0]?.shared.take(text);
      for (const what of LIMITED) expect(members[0]?.limiters[what].take("t")).toBe(0);
      members[0]?.shared.close();
    },
  );
});

describe("shared rates of two control planes on one database: ", () => {
  const clock = new TurnedClock();
  let server: PostgresServer;
  let first: ControlPlaneApi;
  let second: ControlPlaneApi;
  beforeAll(async () => {
    server = await PostgresServer.start();
  }, 60_000);
  beforeEach(async () => {
    const databaseUrl = server.url(await server.createDatabase());
    const options = { databaseUrl, clock, servedWaitMs: 0, requestRates: RATES };
    first = await ControlPlaneApi.start(options);
    second = await first.startAnother(options);
    // Only what has a connection hears of uses.
    await waitFor(async () => expect(await listening()).toBe(2));
  }, 60_000);
  afterEach(async () => {
    await second.controlPlane.close();
    await first.close();
  });
  afterAll(() => server.remove());

  async function statusOf(api: ControlPlaneApi): Promise<number> {
    const response = await api.fetch("/memberships");
    await response.arrayBuffer();
    return response.status;
  }

  /** How many of some calls were let through. */
  async function passing(api: ControlPlaneApi, calls: number): Promise<number> {
    let passed = 0;
    for (let call = 0; call < calls; call += 1) passed += (await statusOf(api)) === 200 ? 1 : 0;
    return passed;
  }

  test("what a token did at one, it can't do at the other again", async () => {
    const { burst, perSecond } = RATES.token;
    expect(await passing(first, burst + 5)).toBe(burst);
    clock.turn();
    await waitFor(async () => expect(await statusOf(second)).toBe(429));
    clock.advanceMs(1_000);
    expect(await passing(second, burst)).toBe(perSecond);
    expect((await second.fetch("/memberships", {}, "theirs")).status).toBe(200);
  });

  /** How many control planes listen to what the others tell. */
  async function listening(): Promise<number> {
    clock.turn(); // lost connections are made again
    const { rows } = await sql`select 1 from pg_stat_activity where query ~ 'LISTEN|pg_notify'
      and query !~ 'pg_stat_activity' and state = 'idle' and datname = current_database()`.execute(
      first.controlPlane.database,
    );
    return rows.length;
  }

  test("without the database each goes on to count for itself, and together again when it is back", async () => {
    const { burst, perSecond } = RATES.address;
    const ask = async (api: ControlPlaneApi, calls: number): Promise<ReadonlyArray<number>> => {
      const statuses: number[] = [];
      for (let call = 0; call < calls; call += 1) statuses.push(await statusOf(api));
      return statuses;
    };
    await server.kill();
    const statuses = await ask(first, burst + 1);
    expect(new Set(statuses.slice(0, -1))).toEqual(new Set([503]));
    expect(statuses.at(-1)).toBe(429);
    clock.turn();
    expect(await statusOf(second)).toBe(503);
    await server.restart();
    clock.advanceMs((burst / perSecond) * 1_000);
    await waitFor(async () => expect(await listening()).toBe(2));
    expect((await ask(first, burst + 1)).at(-1)).toBe(429);
    clock.turn();
    await waitFor(async () =>
      expect((await second.fetch("/memberships", {}, "theirs")).status).toBe(429),
    );
  }, 60_000);
});
