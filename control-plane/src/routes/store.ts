import { randomUUID } from "node:crypto";
import type { Database, Transaction } from "../database/database.ts";
import { overlappingHosts } from "./route-pattern.ts";
import type { NamedRoute, RouteKind } from "./schemas.ts";

// Each is a dozen ranges of the statement.
const HOSTS_PER_QUERY = 20;

/** The routes of all workers: patterns from `routes`, and the hosts of custom domains as `host/*`. */
export class RouteStore {
  /** Of some workers, by the worker's id. */
  async patternsOf(
    database: Database | Transaction,
    workerIds: ReadonlyArray<string>,
  ): Promise<ReadonlyMap<string, ReadonlyArray<string>>> {
    const rows = await database
      .selectFrom("routes")
      .select(["worker_id", "pattern"])
      .where("worker_id", "in", workerIds)
      .orderBy("pattern")
      .execute();
    const byWorker = Map.groupBy(rows, ({ worker_id: id }) => id);
    return new Map(
      [...byWorker].map(([id, of]) => [id, of.map(({ pattern }) => pattern)] as const),
    );
  }

  /** Every route of an account. */
  async listOwned(
    database: Database | Transaction,
    account: string,
  ): Promise<ReadonlyArray<NamedRoute>> {
    const rows = await namedRoutes(database).where("routes.account_id", "=", account).execute();
    return rows.map(toRoute);
  }

  /** All that a worker has of a kind. */
  async listOf(
    database: Database | Transaction,
    { workerId, kind }: { readonly workerId: string; readonly kind: RouteKind },
  ): Promise<ReadonlyArray<NamedRoute>> {
    const rows = await namedRoutes(database)
      .where("routes.worker_id", "=", workerId)
      .where("routes.kind", "=", kind)
      .execute();
    return rows.map(toRoute);
  }

  /** Every route, of any account, whose host overlaps with one of these, and perhaps some more. */
  async listNear(
    database: Database | Transaction,
    hosts: ReadonlyArray<string>,
  ): Promise<ReadonlyArray<NamedRoute>> {
    const distinct = [...new Set(hosts)];
    if (distinct.length === 0) return [];
    const all = namedRoutes(database);
    // So many are rare, and a question of their size would be no faster than the whole.
    if (distinct.length > HOSTS_PER_QUERY) return (await all.execute()).map(toRoute);
    const areas = distinct.map(overlappingHosts);
    const rows = await all
      .where((row) =>
        row.or(
          areas.flatMap(({ hosts: exact, below }) => [
            // From `host/` to `host0`, which comes right after all that begins so.
            ...exact.map((host) =>
              row.and([
                row("routes.pattern", ">=", `${host}/`),
                row("routes.pattern", "<", `${host}0`),
              ]),
            ),
            ...(below === undefined ? [] : [row("routes.pattern", "like", `%.${below}/%`)]),
          ]),
        ),
      )
      .execute();
    return rows.map(toRoute);
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

function namedRoutes(database: Database | Transaction) {
  return database
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
    .orderBy("routes.pattern");
}

function toRoute(row: {
  readonly id: string;
  readonly account_id: string;
  readonly worker_id: string;
  readonly kind: RouteKind;
  readonly pattern: string;
  readonly name: string;
}): NamedRoute {
  return {
    id: row.id,
    account: row.account_id,
    workerId: row.worker_id,
    kind: row.kind,
    pattern: row.pattern,
    worker: row.name,
  };
}
