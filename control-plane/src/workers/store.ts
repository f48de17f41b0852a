import { AccountId, WorkerName } from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import type { Schema } from "../database/schema.ts";
import { ScriptSettings, type StoredWorker, type WorkerAddress } from "./schemas.ts";

/** The rows of workers. Removing one removes its versions, secrets, deployments and routes. */
export class WorkerStore {
  async find(
    database: Database | Transaction,
    { account, name }: WorkerAddress,
  ): Promise<StoredWorker | undefined> {
    const row = await database
      .selectFrom("workers")
      .selectAll()
      .where("account_id", "=", account)
      .where("name", "=", name)
      .executeTakeFirst();
    return row && toWorker(row);
  }

  /** A worker that is known to exist, such as one that a route names. */
  async get(database: Database | Transaction, id: string): Promise<StoredWorker> {
    const row = await database
      .selectFrom("workers")
      .selectAll()
      .where("id", "=", id)
      .executeTakeFirstOrThrow();
    return toWorker(row);
  }

  /** Whose worker this is: names are unique across accounts, because they are host names. */
  async ownerOf(database: Database | Transaction, name: string): Promise<AccountId | undefined> {
    const row = await database
      .selectFrom("workers")
      .select("account_id")
      .where("name", "=", name)
      .executeTakeFirst();
    return row && AccountId.parse(row.account_id);
  }

  async list(
    database: Database | Transaction,
    account: AccountId,
  ): Promise<ReadonlyArray<StoredWorker>> {
    const rows = await database
      .selectFrom("workers")
      .selectAll()
      .where("account_id", "=", account)
      .orderBy("name")
      .execute();
    return rows.map(toWorker);
  }

  /** Of all accounts, those of these names. */
  async listNamed(
    database: Database | Transaction,
    names: ReadonlyArray<string>,
  ): Promise<ReadonlyArray<StoredWorker>> {
    const rows = await database
      .selectFrom("workers")
      .selectAll()
      .where("name", "in", names)
      .orderBy("name")
      .execute();
    return rows.map(toWorker);
  }

  /** The first ones behind a name, of all accounts. */
  async listAfter(
    database: Database | Transaction,
    page: { readonly name: string; readonly limit: number },
  ): Promise<ReadonlyArray<StoredWorker>> {
    const rows = await database
      .selectFrom("workers")
      .selectAll()
      .where("name", ">", page.name)
      .orderBy("name")
      .limit(page.limit)
      .execute();
    return rows.map(toWorker);
  }

  async listAll(database: Database | Transaction): Promise<ReadonlyArray<StoredWorker>> {
    const rows = await database.selectFrom("workers").selectAll().orderBy("name").execute();
    return rows.map(toWorker);
  }

  async insert(transaction: Transaction, worker: StoredWorker): Promise<void> {
    await transaction.insertInto("workers").values(toRow(worker)).execute();
  }

  async update(transaction: Transaction, worker: StoredWorker): Promise<void> {
    await transaction
      .updateTable("workers")
      .set(toRow(worker))
      .where("id", "=", worker.id)
      .execute();
  }

  async remove(transaction: Transaction, id: string): Promise<void> {
    await transaction.deleteFrom("workers").where("id", "=", id).execute();
  }
}

function toWorker(row: Schema["workers"]): StoredWorker {
  return {
    id: row.id,
    account: AccountId.parse(row.account_id),
    name: WorkerName.parse(row.name),
    createdAt: row.created_at,
    modifiedAt: row.modified_at,
    isOnSubdomain: row.is_on_subdomain === 1,
    hasPreviews: row.has_previews === 1,
    settings: ScriptSettings.parse(JSON.parse(row.settings)),
    versionNumber: row.version_number,
  };
}

function toRow(worker: StoredWorker): Schema["workers"] {
  return {
    id: worker.id,
    account_id: worker.account,
    name: worker.name,
    created_at: worker.createdAt,
    modified_at: worker.modifiedAt,
    is_on_subdomain: worker.isOnSubdomain ? 1 : 0,
    has_previews: worker.hasPreviews ? 1 : 0,
    settings: JSON.stringify(worker.settings),
    version_number: worker.versionNumber,
  };
}
