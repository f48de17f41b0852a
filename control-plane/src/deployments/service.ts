import type { Database } from "../database/database.ts";
import type { Mutations } from "../desired-state/mutations.ts";
import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { workerNotFound } from "../versions/publisher.ts";
import { versionNotFound, type Target } from "../versions/service.ts";
import type { VersionStore } from "../versions/store.ts";
import { WorkerStore } from "../workers/store.ts";
import type { Deployment, DeploymentRequest } from "./schemas.ts";
import { DeploymentStore } from "./store.ts";

export interface DeploymentsServiceParts {
  readonly database: Database;
  readonly mutations: Mutations;
  readonly versions: VersionStore;
}

/** The choice of the version that serves. Rolling back is deploying an older version. */
export class DeploymentsService {
  readonly #parts: DeploymentsServiceParts;
  readonly #workers = new WorkerStore();
  readonly #deployments = new DeploymentStore();

  constructor(parts: DeploymentsServiceParts) {
    this.#parts = parts;
  }

  /** The newest first: that one is active. */
  async list({ principal, name }: Target): Promise<ReadonlyArray<Deployment>> {
    const { database } = this.#parts;
    const worker = await this.#workers.find(database, { account: principal.account, name });
    if (worker === undefined) throw workerNotFound(name);
    return this.#deployments.list(database, {
      workerId: worker.id,
      limit: LIMITS.listedVersionsMax,
    });
  }

  /** Makes the version of the request serve everything. Rejected with `unsupported` for a split. */
  async create(target: Target, request: DeploymentRequest): Promise<Deployment> {
    const { principal, name } = target;
    const [chosen, ...others] = request.versions;
    if (others.length > 0) {
      throw new ControlPlaneError(
        "unsupported",
        "Atoll does not support splitting requests between two versions yet: deploy one version at 100%",
      );
    }
    if (chosen === undefined || chosen.percentage !== 100) {
      throw new ControlPlaneError(
        "deployment_invalid",
        `The percentages of a deployment must add up to 100, not ${chosen?.percentage ?? 0}`,
      );
    }
    return this.#parts.mutations.run(principal, async (mutation) => {
      const { transaction, now } = mutation;
      const worker = await this.#workers.find(transaction, { account: principal.account, name });
      if (worker === undefined) throw workerNotFound(name);
      const id = chosen.version_id;
      const version = await this.#parts.versions.find(transaction, { workerId: worker.id, id });
      if (version === undefined) throw versionNotFound(name, id);
      const deployment = await this.#deployments.append(transaction, {
        workerId: worker.id,
        createdAt: now,
        versions: request.versions,
        annotations: { ...request.annotations, "workers/triggered_by": "deployment" },
      });
      await mutation.changed(name);
      const details = { deployment: deployment.id, versions: request.versions };
      await mutation.audit({ action: "deployment.create", subject: name, details });
      return deployment;
    });
  }
}
