import { PostgresServer } from "@atoll/kv-store/test-support/postgres-server";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { ControlPlaneApi, type Tenant } from "../test-support/control-plane-api.ts";
import { DnsServer } from "../test-support/dns-server.ts";

const TENANTS = ["ours", "theirs"] as const;
const ROUNDS = 10;

let dns: DnsServer;
beforeEach(async () => {
  dns = await DnsServer.start();
});
afterEach(() => dns.close());

/** Both accounts claim a domain and have their records; both verify, and DNS answers both at once. */
async function race(
  domain: string,
  at: Readonly<Record<Tenant, ControlPlaneApi>>,
): Promise<Readonly<Record<Tenant, number>>> {
  const texts: string[] = [];
  for (const tenant of TENANTS) {
    const claim = await at[tenant].call("POST A/domains", { domain }, tenant);
    texts.push(claim.result.challenge.value);
  }
  const { promise: until, resolve } = Promise.withResolvers<void>();
  dns.set(`_atoll-challenge.${domain}`, { kind: "held", texts, until });
  const before = dns.questions.length;
  const verifying = TENANTS.map((tenant) =>
    at[tenant].call(`POST A/domains/${domain}/verify`, undefined, tenant),
  );
  await expect.poll(() => dns.questions.length - before).toBe(2);
  resolve();
  const [ours, theirs] = await Promise.all(verifying);
  return { ours: ours?.status ?? 0, theirs: theirs?.status ?? 0 };
}

/** How each of some races ended: what the two were answered, and whether it is the winner's alone. */
async function raceOften(at: Readonly<Record<Tenant, ControlPlaneApi>>) {
  const outcomes: Array<{ statuses: ReadonlyArray<number>; isWinnersAlone: boolean }> = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const domain = `round-${round}.example`;
    const { ours, theirs } = await race(domain, at);
    const rows = await at.ours.controlPlane.database
      .selectFrom("domains")
      .select("account_id")
      .where("name", "=", domain)
      .where("proved_at", "is not", null)
      .execute();
    const winner = at.ours.tenants[ours === 200 ? "ours" : "theirs"].account.id;
    const isWinnersAlone = rows.length === 1 && rows[0]?.account_id === winner;
    outcomes.push({ statuses: [Math.min(ours, theirs), Math.max(ours, theirs)], isWinnersAlone });
  }
  return outcomes;
}

const FAIR = Array.from({ length: ROUNDS }, () => ({ statuses: [200, 409], isWinnersAlone: true }));

describe("proofs at once: ", () => {
  test("on SQLite the first one has the domain, and the other is told", async () => {
    const api = await ControlPlaneApi.start({
      ownershipRule: "required",
      dnsServers: [dns.address],
    });
    expect(await raceOften({ ours: api, theirs: api })).toEqual(FAIR);
    await api.close();
  }, 30_000);

  describe("on PostgreSQL", () => {
    let server: PostgresServer;
    beforeAll(async () => {
      server = await PostgresServer.start();
    });
    afterAll(() => server.remove());

    test("at two control planes the first one has the domain, and the other is told", async () => {
      const databaseUrl = server.url(await server.createDatabase());
      const options = { ownershipRule: "required", dnsServers: [dns.address] } as const;
      const ours = await ControlPlaneApi.start({ ...options, databaseUrl });
      const theirs = await ours.startAnother(options);
      expect(await raceOften({ ours, theirs })).toEqual(FAIR);
      await theirs.controlPlane.close();
      await ours.close();
    }, 60_000);
  });

  test("the schema itself has room for one proof", async () => {
    const api = await ControlPlaneApi.start();
    const row = { name: "a.example", token: "t", created_at: "" };
    const insert = (id: string, owner: Tenant, proved_at: string | null) =>
      api.controlPlane.database
        .insertInto("domains")
        .values({ ...row, id, proved_at, account_id: api.tenants[owner].account.id })
        .execute();
    await insert("1", "ours", "now");
    await expect(insert("2", "theirs", "now")).rejects.toThrow(/unique/i);
    await insert("2", "theirs", null);
    await api.close();
  });
});
