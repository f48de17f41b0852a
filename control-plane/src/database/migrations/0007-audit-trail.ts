import { sql, type Kysely } from "kysely";
import type { Migration } from "kysely/migration";

/** From where, what it was before, and a number for each mutation of an account. */
export const auditTrail: Migration = {
  async up(database: Kysely<unknown>): Promise<void> {
    const table = () => database.schema.alterTable("audit");
    await table().addColumn("address", "text").execute();
    await table().addColumn("before", "text").execute();
    await table().addColumn("after", "text").execute();
    // What was kept so far is what things became.
    await sql`update audit set "after" = details`.execute(database);
    await table().dropColumn("details").execute();
    await table()
      .addColumn("sequence", "bigint", (column) => column.notNull().defaultTo(0))
      .execute();
    await sql`
      update audit set sequence = numbered.position from (
        select id, row_number() over (partition by account_id order by at, id) as position from audit
      ) as numbered where numbered.id = audit.id`.execute(database);
    await sql`
      insert into counters (name, value)
      select 'audit ' || account_id, max(sequence) from audit group by account_id`.execute(
      database,
    );
    await database.schema
      .createIndex("audit_by_sequence")
      .unique()
      .on("audit")
      .columns(["account_id", "sequence"])
      .execute();
  },
};
