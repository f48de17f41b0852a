import type { ExpressionBuilder } from "kysely";
import { chunksOf } from "../chunks-of.ts";
import { BlobHash } from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import type { Schema } from "../database/schema.ts";
import { LIMITS } from "../limits.ts";

/** A blob that is, or may be, stored. */
export interface CodeBlobRow {
  readonly hash: BlobHash;
  /** Since when it has had no name, as far as was looked. */
  readonly unnamedAt: string | null;
}

/** The rows of `code_blobs`. */
export class CodeBlobRows {
  /**
   * Makes sure that these are there and not taken for nameless. Resolves with those that are being removed, by
   * whoever began it since `removedBefore`: they can't be claimed until that is over.
   */
  async claim(
    database: Database,
    {
      hashes,
      removedBefore,
    }: { readonly hashes: Iterable<BlobHash>; readonly removedBefore: string },
  ): Promise<ReadonlyArray<BlobHash>> {
    const leaving: BlobHash[] = [];
    for (const some of chunksOf(hashes, LIMITS.blobRowsPerStatement)) {
      const held = await this.#held(database, some);
      const others = some.filter((hash) => !held.has(hash));
      if (others.length === 0) continue;
      // In one order, so that two uploads of the same content never wait for each other.
      const rows = others.sort().map((hash) => ({ hash, unnamed_at: null, removing_at: null }));
      const claimed = await database
        .insertInto("code_blobs")
        .values(rows)
        .onConflict((conflict) =>
          conflict
            .column("hash")
            .doUpdateSet({ unnamed_at: null, removing_at: null })
            .where((is) => isNotLeaving(is, removedBefore)),
        )
        .returning("hash")
        .execute();
      const isClaimed = new Set<string>(claimed.map(({ hash }) => hash));
      leaving.push(...others.filter((hash) => !isClaimed.has(hash)));
    }
    return leaving;
  }

  /** Those that are as a claim leaves them: to claim them again would be a commit that changes nothing. */
  async #held(database: Database, hashes: ReadonlyArray<BlobHash>): Promise<ReadonlySet<string>> {
    const rows = await database
      .selectFrom("code_blobs")
      .select("hash")
      .where("hash", "in", hashes)
      .where("unnamed_at", "is", null)
      .where("removing_at", "is", null)
      .execute();
    return new Set(rows.map(({ hash }) => hash));
  }

  /** Rows behind `after` in the order of their hashes. */
  async page(database: Database, after: string): Promise<ReadonlyArray<CodeBlobRow>> {
    const rows = await database
      .selectFrom("code_blobs")
      .selectAll()
      .where("hash", ">", after)
      .orderBy("hash")
      .limit(LIMITS.blobRowsPerStatement)
      .execute();
    return rows.map((row) => ({ hash: BlobHash.parse(row.hash), unnamedAt: row.unnamed_at }));
  }

  /** Adds those that have no row. */
  async add(database: Database, hashes: Iterable<BlobHash>): Promise<void> {
    for (const some of chunksOf(hashes, LIMITS.blobRowsPerStatement)) {
      await database
        .insertInto("code_blobs")
        .values(some.map((hash) => ({ hash, unnamed_at: null, removing_at: null })))
        .onConflict((conflict) => conflict.column("hash").doNothing())
        .execute();
    }
  }

  /** Notes that these have no name, but for those that were noted before. */
  async markUnnamed(
    database: Database,
    hashes: ReadonlyArray<BlobHash>,
    unnamedAt: string,
  ): Promise<void> {
    if (hashes.length === 0) return;
    await database
      .updateTable("code_blobs")
      .set({ unnamed_at: unnamedAt })
      .where("hash", "in", hashes)
      .where("unnamed_at", "is", null)
      .execute();
  }

  /** Notes that these have a name. */
  async markNamed(database: Database, hashes: ReadonlyArray<BlobHash>): Promise<void> {
    if (hashes.length === 0) return;
    await database
      .updateTable("code_blobs")
      .set({ unnamed_at: null })
      .where("hash", "in", hashes)
      .execute();
  }

  /**
   * Whether it was still nameless for so long, and from now on can't be claimed. Another removal of it, begun
   * since `removedBefore`, goes first.
   */
  async beginRemoval(
    database: Database,
    removal: {
      readonly hash: BlobHash;
      readonly unnamedBefore: string;
      readonly removedBefore: string;
      readonly removingAt: string;
    },
  ): Promise<boolean> {
    const { numUpdatedRows } = await database
      .updateTable("code_blobs")
      .set({ removing_at: removal.removingAt })
      .where("hash", "=", removal.hash)
      .where("unnamed_at", "<=", removal.unnamedBefore)
      .where((is) => isNotLeaving(is, removal.removedBefore))
      .executeTakeFirst();
    return numUpdatedRows > 0n;
  }

  /** Its content is gone. */
  async endRemoval(
    database: Database,
    removal: { readonly hash: BlobHash; readonly removingAt: string },
  ): Promise<void> {
    await database
      .deleteFrom("code_blobs")
      .where("hash", "=", removal.hash)
      .where("removing_at", "=", removal.removingAt)
      .execute();
  }
}

function isNotLeaving(is: ExpressionBuilder<Schema, "code_blobs">, removedBefore: string) {
  return is.or([
    is("code_blobs.removing_at", "is", null),
    is("code_blobs.removing_at", "<=", removedBefore),
  ]);
}
