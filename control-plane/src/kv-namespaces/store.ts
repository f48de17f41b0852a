import { NamespaceId } from "@atoll/kv-store";
import type { Selectable } from "kysely";
import { AccountId, Version } from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import type { Schema } from "../database/schema.ts";
import { DeploymentStore } from "../deployments/store.ts";
import type { Namespace, NamespaceAddress, NamespaceQuery } from "./schemas.ts";

type NamespaceRow = Selectable<Pick<Schema["kv_namespaces"], "id" | "title">>;

/** Whose namespaces there are, and which ones the origin may hold without them. */
export class NamespaceStore {
  readonly #deployments = new DeploymentStore();

  async find(
    database: Database | Transaction,
    { account, id }: NamespaceAddress,
  ): Promise<Namespace | undefined> {
    const row = await database
      .selectFrom("kv_namespaces")
      .select(["id", "title"])
      .where("account_id", "=", account)
      .where("id", "=", id)
      .executeTakeFirst();
    return row && toNamespace(row);
  }

  async findByTitle(
    database: Database | Transaction,
    { account, title }: { readonly account: AccountId; readonly title: string },
  ): Promise<Namespace | undefined> {
    const row = await database
      .selectFrom("kv_namespaces")
      .select(["id", "title"])
      .where("account_id", "=", account)
      .where("title", "=", title)
      .executeTakeFirst();
    return row && toNamespace(row);
  }

  async list(
    database: Database | Transaction,
    account: AccountId,
    query: NamespaceQuery,
  ): Promise<ReadonlyArray<Namespace>> {
    const rows = await database
      .selectFrom("kv_namespaces")
      .select(["id", "title"])
      .where("account_id", "=", account)
      .orderBy(query.order, query.direction)
      .limit(query.per_page)
      .offset((query.page - 1) * query.per_page)
      .execute();
    return rows.map(toNamespace);
  }

  /** Of all accounts. */
  async listOwned(database: Database | Transaction): Promise<ReadonlyArray<NamespaceAddress>> {
    const rows = await database
      .selectFrom("kv_namespaces")
      .select(["id", "account_id"])
      .orderBy("id")
      .execute();
    return rows.map((row) => ({
      id: NamespaceId.parse(row.id),
      account: AccountId.parse(row.account_id),
    }));
  }

  /** All of an account, by title. */
  async listAll(database: Database, account: AccountId): Promise<ReadonlyArray<Namespace>> {
    const rows = await database
      .selectFrom("kv_namespaces")
      .select(["id", "title"])
      .where("account_id", "=", account)
      .orderBy("title")
      .execute();
    return rows.map(toNamespace);
  }

  async count(database: Database | Transaction, account: AccountId): Promise<number> {
    const { count } = await database
      .selectFrom("kv_namespaces")
      .select((row) => row.fn.countAll<number | string>().as("count"))
      .where("account_id", "=", account)
      .executeTakeFirstOrThrow();
    // PostgreSQL counts in 64 bits, which arrive as text.
    return Number(count);
  }

  async insert(
    transaction: Transaction,
    added: NamespaceAddress & { readonly title: string; readonly createdAt: string },
  ): Promise<void> {
    const { id, account, title, createdAt } = added;
    const row = { id, account_id: account, title, created_at: createdAt };
    await transaction.insertInto("kv_namespaces").values(row).execute();
  }

  async rename(transaction: Transaction, id: NamespaceId, title: string): Promise<void> {
    await transaction.updateTable("kv_namespaces").set({ title }).where("id", "=", id).execute();
  }

  async remove(transaction: Transaction, id: NamespaceId): Promise<void> {
    await transaction.deleteFrom("kv_namespaces").where("id", "=", id).execute();
  }

  /** Notes that the origin may hold the namespace while no row stands for it. */
  async addLeftover(
    database: Database | Transaction,
    leftover: Schema["kv_leftovers"],
  ): Promise<void> {
    await database.insertInto("kv_leftovers").values(leftover).execute();
  }

  /** Turns the note into a claim to remove. False when there is none: the namespace has its row. */
  async claimLeftover(database: Database, id: NamespaceId): Promise<boolean> {
    const { numUpdatedRows } = await database
      .updateTable("kv_leftovers")
      .set({ state: "removing" })
      .where("namespace_id", "=", id)
      .executeTakeFirst();
    return numUpdatedRows > 0n;
  }

  /** False when there was no note in this state. */
  async removeLeftover(
    database: Database | Transaction,
    leftover: Schema["kv_leftovers"],
  ): Promise<boolean> {
    const { numDeletedRows } = await database
      .deleteFrom("kv_leftovers")
      .where("namespace_id", "=", leftover.namespace_id)
      .where("state", "=", leftover.state)
      .executeTakeFirst();
    return numDeletedRows > 0n;
  }

  async listLeftovers(database: Database | Transaction): Promise<ReadonlyArray<NamespaceId>> {
    const rows = await database.selectFrom("kv_leftovers").select("namespace_id").execute();
    return rows.map((row) => NamespaceId.parse(row.namespace_id));
  }

  /** Names of the workers that bind the namespace in a version that serves now. */
  async workersBinding(
    transaction: Transaction,
    { account, id }: NamespaceAddress,
  ): Promise<ReadonlyArray<string>> {
    const candidates = await transaction
      .selectFrom("versions")
      .innerJoin("workers", "workers.id", "versions.worker_id")
      .select(["workers.id", "workers.name", "versions.document"])
      .where("workers.account_id", "=", account)
      // Leaves few documents to parse; an id is not part of any other text by chance.
      .where("versions.document", "like", `%${id}%`)
      .orderBy("workers.name")
      .execute();
    const names = new Set<string>();
    for (const candidate of candidates) {
      const version = Version.parse(JSON.parse(candidate.document));
      const active = await this.#deployments.active(transaction, candidate.id);
      const isServing = active?.versions.some(({ version_id }) => version_id === version.id);
      if (isServing === true && binds(version, id)) names.add(candidate.name);
    }
    return [...names];
  }
}

function binds(version: Version, id: NamespaceId): boolean {
  return version.bindings.some(
    (binding) => binding.type === "kv_namespace" && binding.namespace_id === id,
  );
}

function toNamespace(row: NamespaceRow): Namespace {
  return { id: NamespaceId.parse(row.id), title: row.title };
}
