import type { Transaction } from "./database.ts";

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
