import type { VersionId } from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import type { Mutations } from "../desired-state/mutations.ts";
import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { checkBindings } from "../versions/bindings.ts";
import { workerNotFound } from "../versions/publisher.ts";
import type { StoredVersion } from "../versions/schemas.ts";
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

  /**
   * Makes the version of the request serve everything. Rejected with `unsupported` for a split, and
   * without force with `secrets_changed` for an older version whose secrets differ from those that serve:
   * a version brings its secrets along.
   */
  async create(
    target: Target,
    request: DeploymentRequest,
    options: { readonly isForced: boolean },
  ): Promise<Deployment> {
    const { principal, name } = target;
    const id = onlyVersionOf(request);
    return this.#parts.mutations.run(principal, async (mutation) => {
      const { transaction, now } = mutation;
      const worker = await this.#workers.find(transaction, { account: principal.account, name });
      if (worker === undefined) throw workerNotFound(name);
      const chosen = await this.#parts.versions.find(transaction, { workerId: worker.id, id });
      if (chosen === undefined) throw versionNotFound(name, id);
      // An older version may bind what was deleted since.
      const scope = { account: principal.account, worker: name, database: transaction };
      await checkBindings({ ...scope, ...chosen.version, assets: chosen.version.assets });
      const serving = await this.#serving(transaction, worker.id);
      const isRollback = serving !== undefined && chosen.version.number < serving.version.number;
      if (isRollback && !options.isForced) {
        await this.#requireSameSecrets(transaction, worker.id, { chosen, serving });
      }
      const trigger = isRollback ? "rollback" : "upload";
      const previous = await this.#deployments.active(transaction, worker.id);
      const deployment = await this.#deployments.append(transaction, {
        workerId: worker.id,
        createdAt: now,
        versions: request.versions,
        annotations: { ...request.annotations, "workers/triggered_by": trigger },
      });
      await mutation.changed(name);
      const after = { deployment: deployment.id, versions: request.versions };
      const earlier = previous === undefined ? {} : { before: { versions: previous.versions } };
      await mutation.audit({ action: "deployment.create", subject: name, ...earlier, after });
      return deployment;
    });
  }

  async #serving(transaction: Transaction, workerId: string): Promise<StoredVersion | undefined> {
    const active = await this.#deployments.active(transaction, workerId);
    const id = active?.versions[0]?.version_id;
    return id === undefined ? undefined : this.#parts.versions.get(transaction, id);
  }

  async #requireSameSecrets(
    transaction: Transaction,
    workerId: string,
    versions: { readonly chosen: StoredVersion; readonly serving: StoredVersion },
  ): Promise<void> {
    const open = (stored: StoredVersion) =>
      this.#parts.versions.openSecrets(transaction, workerId, stored.version.id);
    const [then, now] = [await open(versions.chosen), await open(versions.serving)];
    const names = new Set([...Object.keys(then), ...Object.keys(now)]);
    const changed = [...names].filter((name) => then[name] !== now[name]).sort();
    if (changed.length === 0) return;
    // wrangler looks for this sentence, asks its user, and repeats the call with force.
    throw new ControlPlaneError(
      "secrets_changed",
      `The following secrets have changed: ${changed.join(", ")}`,
    );
  }
}

/** The version that gets everything. */
function onlyVersionOf(request: DeploymentRequest): VersionId {
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
  return chosen.version_id;
}
