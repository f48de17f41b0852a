import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import SqliteDatabase from "better-sqlite3";
import { Kysely, SqliteDialect } from "kysely";
import { Migrator } from "kysely/migration";
import { expect, test } from "vitest";
import { openSqliteDatabase } from "../database/database.ts";
import { MIGRATIONS } from "../database/migrations/index.ts";
import type { Schema } from "../database/schema.ts";
import { Mutations } from "../desired-state/mutations.ts";
import { mintCredential } from "../secrets/credential.ts";
import { TestClock } from "../test-support/test-clock.ts";
import { TokensService } from "./service.ts";

test("tokens: one that was made before there were roles is an admin's of its whole account", async () => {
  const directory = await mkdtemp(join(tmpdir(), "atoll-earlier-"));
  const path = join(directory, "control-plane.sqlite");
  const earlier = new Kysely<Schema>({
    dialect: new SqliteDialect({ database: new SqliteDatabase(path) }),
  });
  const provider = { getMigrations: () => Promise.resolve(MIGRATIONS) };
  await new Migrator({ db: earlier, provider }).migrateTo("0005-kv-quotas");
  const account = "a".repeat(32);
  const { id, hash, text } = mintCredential("atoll");
  const created_at = "2026-01-01T00:00:00.000Z";
  await earlier.insertInto("accounts").values({ id: account, name: "Old", created_at }).execute();
  const row = { id, account_id: account, name: "operator", token_hash: hash, created_at };
  await earlier.insertInto("api_tokens").values(row).execute();
  await earlier.destroy();

  const database = await openSqliteDatabase(path);
  const clock = new TestClock();
  const tokens = new TokensService({
    database,
    clock,
    mutations: new Mutations({ database, clock }),
  });
  expect(await tokens.verify(text)).toEqual({
    ...{ account, tokenId: id, role: "admin", scope: { kind: "account" } },
  });
  await database.destroy();
  await rm(directory, { recursive: true });
});
