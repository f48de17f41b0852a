import type { Database, Transaction } from "./database.ts";

type Counter = "state_revision" | "quota_changes" | `audit ${string}`;

/**
 * Counts one further. The counter's row is locked until the commit, so concurrent transactions wait for each other
 * here, and numbers become visible in their own order. A plain sequence shows 7 before 6 when 6 commits later.
 */
export async function nextCount(transaction: Transaction, name: Counter): Promise<number> {
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

/** The latest number; 0 before the first. */
export async function readCount(database: Database | Transaction, name: Counter): Promise<number> {
  const row = await database
    .selectFrom("counters")
    .select("value")
    .where("name", "=", name)
    .executeTakeFirst();
  return row?.value ?? 0;
}
