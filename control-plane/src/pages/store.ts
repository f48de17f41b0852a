import type { AccountId, SecretValues } from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import type { Schema } from "../database/schema.ts";
import { pagesSecretContext } from "../secrets/contexts.ts";
import type { SecretSealer } from "../secrets/sealing.ts";
import type { StoredWorker, WorkerAddress } from "../workers/schemas.ts";
import { WorkerStore } from "../workers/store.ts";
import { Environments, type Environment, type StoredProject } from "./schemas.ts";

/** Which workers are Pages projects. Whoever removes the worker removes its row here. */
export class ProjectStore {
  readonly #workers = new WorkerStore();

  async find(
    database: Database | Transaction,
    address: WorkerAddress,
  ): Promise<StoredProject | undefined> {
    const worker = await this.#workers.find(database, address);
    if (worker === undefined) return undefined;
    const row = await database
      .selectFrom("pages_projects")
      .selectAll()
      .where("worker_id", "=", worker.id)
      .executeTakeFirst();
    return row && toProject(worker, row);
  }

  /** By name. */
  async list(
    database: Database | Transaction,
    account: AccountId,
  ): Promise<ReadonlyArray<StoredProject>> {
    const own = database.selectFrom("workers").select("id").where("account_id", "=", account);
    const rows = await database
      .selectFrom("pages_projects")
      .selectAll()
      .where("worker_id", "in", own)
      .execute();
    const rowOf = new Map(rows.map((row) => [row.worker_id, row]));
    return (await this.#workers.list(database, account)).flatMap((worker) => {
      const row = rowOf.get(worker.id);
      return row === undefined ? [] : [toProject(worker, row)];
    });
  }

  async has(database: Database | Transaction, workerId: string): Promise<boolean> {
    const row = await database
      .selectFrom("pages_projects")
      .select("worker_id")
      .where("worker_id", "=", workerId)
      .executeTakeFirst();
    return row !== undefined;
  }

  async insert(
    transaction: Transaction,
    project: Omit<StoredProject, "worker"> & { readonly workerId: string },
  ): Promise<void> {
    const row = {
      worker_id: project.workerId,
      production_branch: project.productionBranch,
      environments: JSON.stringify(project.environments),
    };
    await transaction.insertInto("pages_projects").values(row).execute();
  }

  async update(transaction: Transaction, project: StoredProject): Promise<void> {
    await transaction
      .updateTable("pages_projects")
      .set({
        production_branch: project.productionBranch,
        environments: JSON.stringify(project.environments),
      })
      .where("worker_id", "=", project.worker.id)
      .execute();
  }
}

function toProject(worker: StoredWorker, row: Schema["pages_projects"]): StoredProject {
  const environments = Environments.parse(JSON.parse(row.environments));
  return { worker, productionBranch: row.production_branch, environments };
}

/** Secrets that the next deployments of a project get, under seal. */
export class ProjectSecretStore {
  readonly #sealer: SecretSealer;

  constructor(sealer: SecretSealer) {
    this.#sealer = sealer;
  }

  /** Of some projects, by name. */
  async names(
    database: Database | Transaction,
    workerIds: ReadonlyArray<string>,
  ): Promise<
    ReadonlyArray<{
      readonly workerId: string;
      readonly environment: string;
      readonly name: string;
    }>
  > {
    if (workerIds.length === 0) return [];
    return database
      .selectFrom("pages_secrets")
      .select(["worker_id as workerId", "environment", "name"])
      .where("worker_id", "in", workerIds)
      .orderBy("name")
      .execute();
  }

  /** In the clear. Rejected with `secret_unreadable` under another master key. */
  async open(
    database: Database | Transaction,
    place: { readonly workerId: string; readonly environment: Environment },
  ): Promise<SecretValues> {
    const rows = await database
      .selectFrom("pages_secrets")
      .select(["name", "sealed"])
      .where("worker_id", "=", place.workerId)
      .where("environment", "=", place.environment)
      .execute();
    return Object.fromEntries(
      rows.map(({ name, sealed }) => [
        name,
        this.#sealer.open(sealed, pagesSecretContext({ ...place, name })),
      ]),
    );
  }

  async put(
    transaction: Transaction,
    secret: {
      readonly workerId: string;
      readonly environment: Environment;
      readonly name: string;
      readonly value: string;
    },
  ): Promise<void> {
    const { workerId, environment, name, value } = secret;
    const sealed = this.#sealer.seal(value, pagesSecretContext(secret));
    await transaction
      .insertInto("pages_secrets")
      .values({ worker_id: workerId, environment, name, sealed })
      .onConflict((conflict) =>
        conflict.columns(["worker_id", "environment", "name"]).doUpdateSet({ sealed }),
      )
      .execute();
  }

  async remove(
    transaction: Transaction,
    secret: {
      readonly workerId: string;
      readonly environment: Environment;
      readonly name: string;
    },
  ): Promise<void> {
    await transaction
      .deleteFrom("pages_secrets")
      .where("worker_id", "=", secret.workerId)
      .where("environment", "=", secret.environment)
      .where("name", "=", secret.name)
      .execute();
  }
}
