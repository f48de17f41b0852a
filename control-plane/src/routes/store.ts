import { randomUUID } from "node:crypto";
import type { Database, Transaction } from "../database/database.ts";
import type { NamedRoute, RouteKind } from "./schemas.ts";

/** The routes of all workers: patterns from `routes`, and the hosts of custom domains as `host/*`. */
export class RouteStore {
  async patternsOf(
    database: Database | Transaction,
    workerId: string,
  ): Promise<ReadonlyArray<string>> {
    const rows = await database
      .selectFrom("routes")
      .select("pattern")
      .where("worker_id", "=", workerId)
      .orderBy("pattern")
      .execute();
    return rows.map(({ pattern }) => pattern);
  }

  /** Every route of every account: what a new one may collide with. */
  async listAll(database: Database | Transaction): Promise<ReadonlyArray<NamedRoute>> {
    const rows = await database
      .selectFrom("routes")
      .innerJoin("workers", "workers.id", "routes.worker_id")
      .select([
        "routes.id",
        "routes.account_id",
        "routes.worker_id",
        "routes.kind",
        "routes.pattern",
        "workers.name",
      ])
      .orderBy("routes.pattern")
      .execute();
    return rows.map((row) => ({
      id: row.id,
      account: row.account_id,
      workerId: row.worker_id,
      kind: row.kind,
      pattern: row.pattern,
      worker: row.name,
    }));
  }

  /** Makes `patterns` all that a worker has of a kind. */
  async replace(
    transaction: Transaction,
    set: {
      readonly account: string;
      readonly workerId: string;
      readonly kind: RouteKind;
      readonly patterns: ReadonlyArray<string>;
      readonly now: string;
    },
  ): Promise<void> {
    const { account, workerId, kind, now } = set;
    await transaction
      .deleteFrom("routes")
      .where("worker_id", "=", workerId)
      .where("kind", "=", kind)
      .execute();
    for (const pattern of set.patterns) {
      const row = { id: randomUUID().replaceAll("-", ""), pattern, kind, created_at: now };
      const owned = { ...row, account_id: account, worker_id: workerId };
      await transaction.insertInto("routes").values(owned).execute();
    }
  }

  async remove(transaction: Transaction, id: string): Promise<void> {
    await transaction.deleteFrom("routes").where("id", "=", id).execute();
  }
}
