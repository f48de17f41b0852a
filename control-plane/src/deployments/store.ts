import { randomUUID } from "node:crypto";
import type { VersionId } from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import type { Schema } from "../database/schema.ts";
import { LIMITS } from "../limits.ts";
import { Annotations } from "../versions/schemas.ts";
import { DeployedVersions, type Deployment } from "./schemas.ts";

/** Which versions served when. The newest deployment of a worker is the active one. */
export class DeploymentStore {
  /** Makes this the active deployment; the oldest ones beyond `LIMITS.deploymentsKeptMax` go. */
  async append(
    transaction: Transaction,
    added: {
      readonly workerId: string;
      readonly createdAt: string;
      readonly versions: DeployedVersions;
      readonly annotations: Annotations;
    },
  ): Promise<Deployment> {
    const previous = await this.active(transaction, added.workerId);
    const deployment = {
      id: randomUUID(),
      number: (previous?.number ?? 0) + 1,
      createdAt: added.createdAt,
      versions: added.versions,
      annotations: added.annotations,
    };
    const row = {
      id: deployment.id,
      worker_id: added.workerId,
      number: deployment.number,
      created_at: deployment.createdAt,
      versions: JSON.stringify(deployment.versions),
      annotations: JSON.stringify(deployment.annotations),
    };
    await transaction.insertInto("deployments").values(row).execute();
    await this.prune(transaction, added.workerId, LIMITS.deploymentsKeptMax);
    return deployment;
  }

  /** The newest deployments first. */
  async list(
    database: Database | Transaction,
    query: { readonly workerId: string; readonly limit: number },
  ): Promise<ReadonlyArray<Deployment>> {
    const rows = await database
      .selectFrom("deployments")
      .selectAll()
      .where("worker_id", "=", query.workerId)
      .orderBy("number", "desc")
      .limit(query.limit)
      .execute();
    return rows.map(toDeployment);
  }

  async active(
    database: Database | Transaction,
    workerId: string,
  ): Promise<Deployment | undefined> {
    const [active] = await this.list(database, { workerId, limit: 1 });
    return active;
  }

  /** The active ones of some workers, by the worker's id. */
  async activeOf(
    database: Database | Transaction,
    workerIds: ReadonlyArray<string>,
  ): Promise<ReadonlyMap<string, Deployment>> {
    if (workerIds.length === 0) return new Map();
    const rows = await database
      .selectFrom("deployments")
      .selectAll()
      .where("worker_id", "in", workerIds)
      .where("number", "=", (row) =>
        row
          .selectFrom("deployments as each")
          .select(({ fn }) => fn.max("each.number").as("newest"))
          .whereRef("each.worker_id", "=", "deployments.worker_id"),
      )
      .execute();
    return new Map(rows.map((row) => [row.worker_id, toDeployment(row)]));
  }

  /** Removes those that name a version, but for the active one. */
  async removeNaming(
    transaction: Transaction,
    { workerId, versionId }: { readonly workerId: string; readonly versionId: VersionId },
  ): Promise<void> {
    const limit = LIMITS.deploymentsKeptMax;
    const [, ...earlier] = await this.list(transaction, { workerId, limit });
    const naming = earlier.filter(({ versions }) =>
      versions.some(({ version_id: id }) => id === versionId),
    );
    if (naming.length === 0) return;
    await transaction
      .deleteFrom("deployments")
      .where(
        "id",
        "in",
        naming.map(({ id }) => id),
      )
      .execute();
  }

  /** Keeps the newest `keptMax`, which is 1 at least: that one is active. */
  async prune(transaction: Transaction, workerId: string, keptMax: number): Promise<void> {
    const active = await this.active(transaction, workerId);
    const numberMax = (active?.number ?? 0) - keptMax;
    await transaction
      .deleteFrom("deployments")
      .where("worker_id", "=", workerId)
      .where("number", "<=", numberMax)
      .execute();
  }
}

function toDeployment(row: Schema["deployments"]): Deployment {
  return {
    id: row.id,
    number: row.number,
    createdAt: row.created_at,
    versions: DeployedVersions.parse(JSON.parse(row.versions)),
    annotations: Annotations.parse(JSON.parse(row.annotations)),
  };
}
