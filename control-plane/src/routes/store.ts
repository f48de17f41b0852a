import { randomUUID } from "node:crypto";
import { chunksOf } from "../chunks-of.ts";
import type { Database, Transaction } from "../database/database.ts";
import { hostKey, overlappingHosts, splitPattern } from "./route-pattern.ts";
import type { NamedRoute, RouteKind } from "./schemas.ts";

// Each is a dozen values of the statement, or a hundred when it has many labels.
const HOSTS_PER_QUERY = 50;
// All that most workers have, in one round trip to the database.
const ROWS_PER_STATEMENT = 100;

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
    const near = new Map<string, NamedRoute>();
    const areas = [...new Set(hosts)].map(overlappingHosts);
    for (const some of chunksOf(areas, HOSTS_PER_QUERY)) {
      const exact = new Set(some.flatMap((area) => area.hosts.map(hostKey)));
      const below = some.flatMap((area) => (area.below === undefined ? [] : [area.below]));
      const rows = await namedRoutes(database)
        .where((row) =>
          row.or([
            row("routes.host_key", "in", [...exact]),
            // From `com.example.` to `com.example/`, which comes right after all that begins so.
            ...below
              .map(hostKey)
              .map((key) =>
                row.and([
                  row("routes.host_key", ">", `${key}.`),
                  row("routes.host_key", "<", `${key}/`),
                ]),
              ),
          ]),
        )
        .execute();
      for (const route of rows.map(toRoute)) near.set(route.id, route);
    }
    return [...near.values()];
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
    const rows = set.patterns.map((pattern) => ({
      ...{ id: randomUUID().replaceAll("-", ""), pattern, kind, created_at: now },
      ...{ account_id: account, worker_id: workerId },
      host_key: hostKey(splitPattern(pattern).host),
    }));
    for (const some of chunksOf(rows, ROWS_PER_STATEMENT)) {
      await transaction.insertInto("routes").values(some).execute();
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
