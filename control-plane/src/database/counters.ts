import type { Database, Transaction } from "./database.ts";

/**
 * The next number of a counter, the first one 1. Its row is a lock until the transaction ends, so that who counts
 * commits in the order of the numbers: of a plain sequence 7 may be seen before 6.
 */
export async function nextNumber(transaction: Transaction, name: string): Promise<number> {
  const { value } = await transaction
    .insertInto("counters")
    .values({ name, value: 1 })
    .onConflict((conflict) =>
      conflict.column("name").doUpdateSet((row) => ({ value: row("counters.value", "+", 1) })),
    )
    .returning("value")
    .executeTakeFirstOrThrow();
  return value;
}

/** The latest number of a counter; 0 before the first. Who reads it sees all that lower ones stand for. */
export async function latestNumber(
  database: Database | Transaction,
  name: string,
): Promise<number> {
  const row = await database
    .selectFrom("counters")
    .select("value")
    .where("name", "=", name)
    .executeTakeFirst();
  return row?.value ?? 0;
}
