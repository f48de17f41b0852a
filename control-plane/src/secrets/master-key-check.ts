import type { Database } from "../database/database.ts";
import { deriveKey } from "./sealing.ts";

const NAME = "master_key_check";

/**
 * Fails when the control planes that used this database before have another master key: secrets of one
 * would not open for the other, and nodes refuse states that are signed by a key that they do not know.
 */
export async function requireSameMasterKey(
  database: Database,
  masterKey: Uint8Array,
): Promise<void> {
  const value = deriveKey(masterKey, "atoll master key check v1").toString("hex");
  const kept = await database.transaction().execute(async (transaction) => {
    await transaction
      .insertInto("installation")
      .values({ name: NAME, value })
      .onConflict((conflict) => conflict.column("name").doNothing())
      .execute();
    return transaction
      .selectFrom("installation")
      .select("value")
      .where("name", "=", NAME)
      .executeTakeFirstOrThrow();
  });
  if (kept.value === value) return;
  throw new Error(
    "this database belongs to control planes with another master key: give this one the same, in ATOLL_MASTER_KEY or as a copy of their data folder's master.key",
  );
}
