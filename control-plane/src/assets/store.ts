import { BlobHash } from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import { AnnouncedManifest, type AssetContent, type AssetSession } from "./schemas.ts";

// Parameters of one query: SQLite takes 32,766, PostgreSQL 65,535; fewer keep the statement small.
const HASHES_PER_QUERY = 500;

/** Sessions of uploads, and what each account has uploaded. */
export class AssetStore {
  async insertSession(
    transaction: Transaction,
    session: AssetSession & { readonly createdAt: string },
  ): Promise<void> {
    const row = {
      id: session.id,
      account_id: session.account,
      worker: session.worker,
      manifest: JSON.stringify(session.manifest),
      created_at: session.createdAt,
    };
    await transaction.insertInto("asset_sessions").values(row).execute();
  }

  async findSession(database: Database, id: string): Promise<AssetSession | undefined> {
    const row = await database
      .selectFrom("asset_sessions")
      .selectAll()
      .where("id", "=", id)
      .executeTakeFirst();
    if (row === undefined) return undefined;
    const manifest = AnnouncedManifest.parse(JSON.parse(row.manifest));
    return { id: row.id, account: row.account_id, worker: row.worker, manifest };
  }

  async removeSessionsBefore(transaction: Transaction, createdAt: string): Promise<void> {
    await transaction.deleteFrom("asset_sessions").where("created_at", "<", createdAt).execute();
  }

  /** Of these hashes, those that the account has, with what is behind them. */
  async findContents(
    database: Database | Transaction,
    account: string,
    hashes: ReadonlyArray<string>,
  ): Promise<ReadonlyMap<string, AssetContent & { readonly blob: BlobHash }>> {
    const found = new Map<string, AssetContent & { readonly blob: BlobHash }>();
    for (let start = 0; start < hashes.length; start += HASHES_PER_QUERY) {
      const rows = await database
        .selectFrom("asset_contents")
        .selectAll()
        .where("account_id", "=", account)
        .where("hash", "in", hashes.slice(start, start + HASHES_PER_QUERY))
        .execute();
      for (const row of rows) {
        const { hash, size } = row;
        const type = row.content_type === null ? {} : { contentType: row.content_type };
        found.set(hash, { hash, size, blob: BlobHash.parse(row.blob), ...type });
      }
    }
    return found;
  }

  async insertContent(
    transaction: Transaction,
    account: string,
    content: AssetContent,
  ): Promise<void> {
    const row = {
      account_id: account,
      hash: content.hash,
      blob: content.blob,
      size: content.size,
      content_type: content.contentType ?? null,
    };
    await transaction
      .insertInto("asset_contents")
      .values(row)
      .onConflict((conflict) => conflict.columns(["account_id", "hash"]).doNothing())
      .execute();
  }
}
