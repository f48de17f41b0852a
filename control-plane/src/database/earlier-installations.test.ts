import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { expect, test } from "vitest";
import { AuditQuery } from "../audit/schemas.ts";
import { AuditStore } from "../audit/store.ts";
import { AccountId } from "../contract/index.ts";
import { RouteStore } from "../routes/store.ts";
import { migrate } from "./migrate.ts";
import { connectSqlite, openSqliteDatabase } from "./sqlite-database.ts";
import { Mutations } from "../desired-state/mutations.ts";
import { mintCredential } from "../secrets/credential.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import { TestClock } from "../test-support/test-clock.ts";
import { TokensService } from "../tokens/service.ts";
import { TokenUses } from "../tokens/token-uses.ts";

test("migrations: a route from before is found by its host", async () => {
  const directory = await mkdtemp(join(tmpdir(), "atoll-earlier-"));
  const path = join(directory, "control-plane.sqlite");
  const earlier = connectSqlite(path);
  await migrate(earlier, { target: "0017-usage-days" });
  await sql`insert into accounts (id, name, created_at) values ('a', 'Old', '')`.execute(earlier);
  await sql`insert into workers values ('w', 'a', 'hello', '', '', 1, 0, '{}', 1)`.execute(earlier);
  for (const pattern of ["shop.example.com/cart*", "*.example.com/*", "*example.org/*"]) {
    await sql`insert into routes values (${pattern}, 'a', 'w', 'route', ${pattern}, '')`.execute(
      earlier,
    );
  }
  await earlier.destroy();
  const database = await openSqliteDatabase(path);
  const routes = new RouteStore();
  const near = async (host: string) =>
    (await routes.listNear(database, [host])).map(({ id }) => id).toSorted();
  expect(await near("shop.example.com")).toEqual(["*.example.com/*", "shop.example.com/cart*"]);
  expect(await near("*.example.com")).toEqual(["*.example.com/*", "shop.example.com/cart*"]);
  expect(await near("*.com")).toEqual(["*.example.com/*", "shop.example.com/cart*"]);
  expect(await near("example.org")).toEqual(["*example.org/*"]);
  expect(await near("badexample.org")).toEqual([]);
  await database.destroy();
  await rm(directory, { recursive: true });
});

test("migrations: earlier tokens are admins' of their whole account, and the audit trail goes on", async () => {
  const directory = await mkdtemp(join(tmpdir(), "atoll-earlier-"));
  const path = join(directory, "control-plane.sqlite");
  const earlier = connectSqlite(path);
  await migrate(earlier, { target: "0005-kv-quotas" });
  const account = "a".repeat(32);
  const { id, hash, text } = mintCredential("atoll");
  const created_at = "2026-01-01T00:00:00.000Z";
  await earlier.insertInto("accounts").values({ id: account, name: "Old", created_at }).execute();
  const row = { id, account_id: account, name: "operator", token_hash: hash, created_at };
  await earlier.insertInto("api_tokens").values(row).execute();
  for (const [at, id] of [
    ["2026-02", "later"],
    ["2026-01", "earlier"],
  ]) {
    await sql`insert into audit (id, at, account_id, token_id, action, subject, details)
      values (${id}, ${at}, ${account}, 'x', 'worker.delete', ${id}, '{"a":1}')`.execute(earlier);
  }
  await earlier.destroy();

  const database = await openSqliteDatabase(path);
  const clock = new TestClock();
  const uses = new TokenUses({ database, clock, log: new RecordedLog().logger });
  const mutations = new Mutations({ database, clock });
  const tokens = new TokensService({ database, clock, uses, mutations });
  expect(await tokens.verify(text)).toEqual({
    ...{ account, tokenId: id, role: "admin", scope: { kind: "account" } },
  });
  const query = AuditQuery.parse({});
  expect(await new AuditStore().list(database, account, query)).toMatchObject([
    { sequence: 2, subject: "later", before: null, after: { a: 1 }, address: null },
    { sequence: 1, subject: "earlier" },
  ]);
  const principal = { account: AccountId.parse(account), tokenId: id };
  await new Mutations({ database, clock }).run(principal, (mutation) =>
    mutation.audit({ action: "test", subject: "next" }),
  );
  expect((await new AuditStore().list(database, account, query))[0]?.sequence).toBe(3);
  await uses.close();
  await database.destroy();
  await rm(directory, { recursive: true });
});
