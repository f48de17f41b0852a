import { randomBytes } from "node:crypto";
import type { Selectable } from "kysely";
import { AccountId } from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import type { Schema } from "../database/schema.ts";
import { DomainName } from "./schemas.ts";

/** A claim, or with `provedAt` a domain that is the account's. */
export interface Domain {
  readonly id: string;
  readonly account: AccountId;
  readonly name: DomainName;
  readonly token: string;
  readonly createdAt: string;
  readonly expiresAt: string | null;
  readonly provedAt: string | null;
}

/** Claims of accounts, and the domains that they proved. */
export class DomainStore {
  /** All of an account, by name. */
  async listOwned(
    database: Database | Transaction,
    account: AccountId,
  ): Promise<ReadonlyArray<Domain>> {
    const rows = await database
      .selectFrom("domains")
      .selectAll()
      .where("account_id", "=", account)
      .orderBy("name")
      .execute();
    return rows.map(toDomain);
  }

  async find(
    database: Database | Transaction,
    { account, name }: { readonly account: AccountId; readonly name: DomainName },
  ): Promise<Domain | undefined> {
    const row = await database
      .selectFrom("domains")
      .selectAll()
      .where("account_id", "=", account)
      .where("name", "=", name)
      .executeTakeFirst();
    return row && toDomain(row);
  }

  /** The proved domains, of any account, that are one of these names, or lie below one of `below`. */
  async listProved(
    database: Database | Transaction,
    wanted: { readonly names: ReadonlyArray<string>; readonly below: ReadonlyArray<string> },
  ): Promise<ReadonlyArray<Domain>> {
    const { names, below } = wanted;
    const rows = await database
      .selectFrom("domains")
      .selectAll()
      .where("proved_at", "is not", null)
      .where((row) =>
        row.or([
          row("name", "in", names),
          ...below.map((domain) => row("name", "like", `%.${domain}`)),
        ]),
      )
      .execute();
    // An underscore of such a pattern stands for any character.
    const isBelow = (name: string): boolean => below.some((each) => name.endsWith(`.${each}`));
    return rows.filter(({ name }) => names.includes(name) || isBelow(name)).map(toDomain);
  }

  async insert(transaction: Transaction, domain: Domain): Promise<void> {
    const row = {
      id: domain.id,
      account_id: domain.account,
      name: domain.name,
      token: domain.token,
      created_at: domain.createdAt,
      expires_at: domain.expiresAt,
      proved_at: domain.provedAt,
    };
    await transaction.insertInto("domains").values(row).execute();
  }

  async renew(transaction: Transaction, id: string, expiresAt: string): Promise<void> {
    const set = { expires_at: expiresAt };
    await transaction.updateTable("domains").set(set).where("id", "=", id).execute();
  }

  async prove(transaction: Transaction, id: string, at: string): Promise<void> {
    const set = { proved_at: at, expires_at: null };
    await transaction.updateTable("domains").set(set).where("id", "=", id).execute();
  }

  async remove(transaction: Transaction, id: string): Promise<void> {
    await transaction.deleteFrom("domains").where("id", "=", id).execute();
  }

  /** Removes the claims, of any account, that have expired. */
  async removeExpired(transaction: Transaction, now: string): Promise<void> {
    await transaction.deleteFrom("domains").where("expires_at", "<=", now).execute();
  }
}

/** A claim that nobody can foresee. */
export function newClaim(claim: {
  readonly account: AccountId;
  readonly name: DomainName;
  readonly createdAt: string;
  readonly expiresAt: string;
}): Domain {
  return {
    ...claim,
    id: randomBytes(16).toString("hex"),
    token: randomBytes(32).toString("base64url"),
    provedAt: null,
  };
}

function toDomain(row: Selectable<Schema["domains"]>): Domain {
  return {
    id: row.id,
    account: AccountId.parse(row.account_id),
    name: DomainName.parse(row.name),
    token: row.token,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    provedAt: row.proved_at,
  };
}
