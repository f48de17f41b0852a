import { NamespaceId } from "@atoll/kv-store";
import type { Selectable } from "kysely";
import { z } from "zod";
import { AccountId, WorkerName } from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import type { Schema } from "../database/schema.ts";
import type { StoredCredential } from "../secrets/credential.ts";
import { ROLES, type ListedToken, type Role, type TokenScope } from "./schemas.ts";

const StoredRole = z.enum(ROLES);

export interface StoredToken {
  readonly credential: StoredCredential;
  readonly account: AccountId;
  readonly name: string;
  readonly role: Role;
  readonly scope: TokenScope;
  readonly createdAt: string;
  readonly expiresAt: string | null;
  readonly lastUsedAt: string | null;
}

/** API tokens. But for finding out whose one is, each query is of one account. */
export class TokenStore {
  async find(database: Database | Transaction, id: string): Promise<StoredToken | undefined> {
    const row = await database
      .selectFrom("api_tokens")
      .selectAll()
      .where("id", "=", id)
      .executeTakeFirst();
    return row && toToken(row);
  }

  /** The oldest first. */
  async list(
    database: Database | Transaction,
    account: AccountId,
  ): Promise<ReadonlyArray<StoredToken>> {
    const rows = await database
      .selectFrom("api_tokens")
      .selectAll()
      .where("account_id", "=", account)
      .orderBy("created_at")
      .orderBy("id")
      .execute();
    return rows.map(toToken);
  }

  /** Which of some tokens, by id, are there and have not expired at a time. */
  async listHolding(
    database: Database,
    ids: ReadonlyArray<string>,
    now: string,
  ): Promise<ReadonlySet<string>> {
    const rows = await database
      .selectFrom("api_tokens")
      .select("id")
      .where("id", "in", ids)
      .where((row) => row.or([row("expires_at", "is", null), row("expires_at", ">", now)]))
      .execute();
    return new Set(rows.map(({ id }) => id));
  }

  async insert(transaction: Transaction, token: StoredToken): Promise<void> {
    const { scope } = token;
    const row = {
      id: token.credential.id,
      account_id: token.account,
      name: token.name,
      token_hash: token.credential.hash,
      created_at: token.createdAt,
      role: token.role,
      worker: scope.kind === "worker" ? scope.worker : null,
      namespace_id: scope.kind === "namespace" ? scope.namespace : null,
      expires_at: token.expiresAt,
      last_used_at: token.lastUsedAt,
    };
    await transaction.insertInto("api_tokens").values(row).execute();
  }

  async remove(
    transaction: Transaction,
    token: { readonly account: AccountId; readonly id: string },
  ): Promise<void> {
    await transaction
      .deleteFrom("api_tokens")
      .where("account_id", "=", token.account)
      .where("id", "=", token.id)
      .execute();
  }

  /** Notes when tokens were last used, by their ids. */
  async touchAll(database: Database, times: ReadonlyMap<string, string>): Promise<void> {
    // In one order, so that two control planes never wait for each other.
    const sorted = [...times].sort(([one], [other]) => (one < other ? -1 : 1));
    // A row is lock enough.
    const writing = database.transaction().setIsolationLevel("read committed");
    await writing.execute(async (transaction) => {
      for (const [id, at] of sorted) {
        await transaction
          .updateTable("api_tokens")
          .set({ last_used_at: at })
          .where("id", "=", id)
          .execute();
      }
    });
  }
}

/** What people may see of a token. */
export function presentToken(token: StoredToken): ListedToken {
  const { scope } = token;
  return {
    id: token.credential.id,
    name: token.name,
    role: token.role,
    worker: scope.kind === "worker" ? scope.worker : null,
    namespace: scope.kind === "namespace" ? scope.namespace : null,
    created_at: token.createdAt,
    expires_at: token.expiresAt,
    last_used_at: token.lastUsedAt,
  };
}

function toToken(row: Selectable<Schema["api_tokens"]>): StoredToken {
  return {
    credential: { id: row.id, hash: row.token_hash },
    account: AccountId.parse(row.account_id),
    name: row.name,
    role: StoredRole.parse(row.role),
    scope: scopeOf(row),
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    lastUsedAt: row.last_used_at,
  };
}

function scopeOf(row: Selectable<Schema["api_tokens"]>): TokenScope {
  if (row.worker !== null) return { kind: "worker", worker: WorkerName.parse(row.worker) };
  if (row.namespace_id === null) return { kind: "account" };
  return { kind: "namespace", namespace: NamespaceId.parse(row.namespace_id) };
}
