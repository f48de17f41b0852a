import { chunksOf } from "../chunks-of.ts";
import { BlobHash } from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import { StoredManifest, type AssetContent, type AssetSession } from "./schemas.ts";

// Parameters of one query: SQLite takes 32,766, PostgreSQL 65,535; fewer keep the statement small.
const HASHES_PER_QUERY = 500;

/** A file that an account uploaded. */
interface IdleContent {
  readonly account: string;
  readonly hash: string;
  readonly blob: BlobHash;
}

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
    const manifest = StoredManifest.parse(JSON.parse(row.manifest));
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
    for (const some of chunksOf(hashes, HASHES_PER_QUERY)) {
      const rows = await database
        .selectFrom("asset_contents")
        .selectAll()
        .where("account_id", "=", account)
        .where("hash", "in", some)
        .execute();
      for (const row of rows) {
        const { hash, size } = row;
        const type = row.content_type === null ? {} : { contentType: row.content_type };
        found.set(hash, { hash, size, blob: BlobHash.parse(row.blob), ...type });
      }
    }
    return found;
  }

  /** Whether the account has all of these, none of which is there twice. */
  async hasAll(
    database: Database,
    account: string,
    hashes: ReadonlyArray<string>,
  ): Promise<boolean> {
    // The last are sent last: where one is missing, mostly the first look finds it.
    for (let end = hashes.length; end > 0; end -= HASHES_PER_QUERY) {
      const some = hashes.slice(Math.max(0, end - HASHES_PER_QUERY), end);
      const row = await database
        .selectFrom("asset_contents")
        .select(({ fn }) => fn.countAll().as("count"))
        .where("account_id", "=", account)
        .where("hash", "in", some)
        .executeTakeFirstOrThrow();
      // PostgreSQL counts in 64 bits, which come as text.
      if (Number(row.count) < some.length) return false;
    }
    return true;
  }

  /** Notes that an upload wants these: they stay for as long as uploads take, and longer. */
  async touch(
    transaction: Transaction,
    contents: {
      readonly account: string;
      readonly hashes: ReadonlyArray<string>;
      readonly usedAt: string;
    },
  ): Promise<void> {
    const { account, hashes, usedAt } = contents;
    for (const some of chunksOf(hashes, HASHES_PER_QUERY)) {
      await transaction
        .updateTable("asset_contents")
        .set({ used_at: usedAt })
        .where("account_id", "=", account)
        .where("hash", "in", some)
        .execute();
    }
  }

  async insertContents(
    transaction: Transaction,
    account: string,
    uploaded: { readonly contents: ReadonlyArray<AssetContent>; readonly usedAt: string },
  ): Promise<void> {
    const rows = uploaded.contents.map((content) => ({
      account_id: account,
      hash: content.hash,
      blob: content.blob,
      size: content.size,
      content_type: content.contentType ?? null,
      used_at: uploaded.usedAt,
    }));
    for (const some of chunksOf(rows, HASHES_PER_QUERY)) {
      await transaction
        .insertInto("asset_contents")
        .values(some)
        .onConflict((conflict) =>
          conflict.columns(["account_id", "hash"]).doUpdateSet({ used_at: uploaded.usedAt }),
        )
        .execute();
    }
  }

  /** How much of what Pages sent for a project no deployment has named yet. */
  async stagedSize(
    database: Database,
    { account, project }: { readonly account: string; readonly project: string },
  ): Promise<{ readonly count: number; readonly bytes: number }> {
    const row = await database
      .selectFrom("asset_contents")
      .select(({ fn }) => [fn.countAll().as("count"), fn.sum("size").as("bytes")])
      .where("account_id", "=", account)
      .where("hash", "like", `${project}/%`)
      .executeTakeFirstOrThrow();
    // PostgreSQL counts in 64 bits, which come as text; no row has no sum.
    return { count: Number(row.count), bytes: Number(row.bytes ?? 0) };
  }

  /** The account no longer has these. */
  async removeContents(
    transaction: Transaction,
    account: string,
    hashes: ReadonlyArray<string>,
  ): Promise<void> {
    for (const some of chunksOf(hashes, HASHES_PER_QUERY)) {
      await transaction
        .deleteFrom("asset_contents")
        .where("account_id", "=", account)
        .where("hash", "in", some)
        .execute();
    }
  }

  /** What no upload has wanted since, of all accounts, page by page. */
  async *idleContents(
    database: Database,
    usedBefore: string,
  ): AsyncIterable<ReadonlyArray<IdleContent>> {
    let after: { readonly account_id: string; readonly hash: string } = {
      account_id: "",
      hash: "",
    };
    for (;;) {
      const { account_id: account, hash } = after;
      const rows = await database
        .selectFrom("asset_contents")
        .select(["account_id", "hash", "blob"])
        .where("used_at", "<=", usedBefore)
        .where((is) =>
          is.or([
            is("account_id", ">", account),
            is.and([is("account_id", "=", account), is("hash", ">", hash)]),
          ]),
        )
        .orderBy("account_id")
        .orderBy("hash")
        .limit(HASHES_PER_QUERY)
        .execute();
      const last = rows.at(-1);
      if (last === undefined) return;
      after = last;
      yield rows.map((row) => ({
        account: row.account_id,
        hash: row.hash,
        blob: BlobHash.parse(row.blob),
      }));
    }
  }

  /** Whether it was still as idle, and the account no longer has it. */
  async removeIdle(
    database: Database,
    content: { readonly account: string; readonly hash: string; readonly usedBefore: string },
  ): Promise<boolean> {
    const { numDeletedRows } = await database
      .deleteFrom("asset_contents")
      .where("account_id", "=", content.account)
      .where("hash", "=", content.hash)
      .where("used_at", "<=", content.usedBefore)
      .executeTakeFirst();
    return numDeletedRows > 0n;
  }

  /** Every blob that is a file of an account. */
  async allBlobs(database: Database): Promise<ReadonlyArray<BlobHash>> {
    const rows = await database.selectFrom("asset_contents").select("blob").distinct().execute();
    return rows.map(({ blob }) => BlobHash.parse(blob));
  }

  /** Which of these blobs are files that an account has uploaded. */
  async blobsAmong(
    database: Database,
    hashes: ReadonlyArray<BlobHash>,
  ): Promise<ReadonlySet<string>> {
    const rows = await database
      .selectFrom("asset_contents")
      .select("blob")
      .distinct()
      .where("blob", "in", hashes)
      .execute();
    return new Set(rows.map(({ blob }) => blob));
  }
}
