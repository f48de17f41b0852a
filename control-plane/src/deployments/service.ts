import type { Database, Transaction } from "../database/database.ts";
import type { Mutations } from "../desired-state/mutations.ts";
import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { checkBindings } from "../versions/bindings.ts";
import { workerNotFound } from "../versions/publisher.ts";
import type { StoredVersion } from "../versions/schemas.ts";
import { versionNotFound, type Target } from "../versions/service.ts";
import type { VersionStore } from "../versions/store.ts";
import type { StoredWorker } from "../workers/schemas.ts";
import { WorkerStore } from "../workers/store.ts";
import type { DeployedVersions, Deployment, DeploymentRequest } from "./schemas.ts";
import { DeploymentStore } from "./store.ts";

export interface DeploymentsServiceParts {
  readonly database: Database;
  readonly mutations: Mutations;
  readonly versions: VersionStore;
}

/** The choice of the versions that serve. Rolling back is deploying an older version. */
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
   * Makes the versions of the request serve. Rejected with `deployment_invalid` when they are no split of
   * everything, and without force with `secrets_changed` for one that would come back with other secrets
   * than those that serve: a version brings its secrets along.
   */
  async create(
    target: Target,
    request: DeploymentRequest,
    options: { readonly isForced: boolean },
  ): Promise<Deployment> {
    const { principal, name } = target;
    checkSplit(request.versions);
    return this.#parts.mutations.run(principal, async (mutation) => {
      const { transaction, now } = mutation;
      const worker = await this.#workers.find(transaction, { account: principal.account, name });
      if (worker === undefined) throw workerNotFound(name);
      const previous = await this.#deployments.active(transaction, worker.id);
      const serving = await this.#servingVersions(transaction, previous);
      const chosen = await this.#chosenVersions(transaction, { target, worker, request });
      const [newest] = serving;
      const isOlder = ({ version }: StoredVersion): boolean =>
        newest !== undefined && version.number < newest.version.number;
      const isServing = ({ version }: StoredVersion): boolean =>
        serving.some((each) => each.version.id === version.id);
      for (const each of options.isForced ? [] : chosen) {
        if (newest === undefined || !isOlder(each) || isServing(each)) continue;
        await this.#requireSameSecrets(transaction, worker.id, { chosen: each, serving: newest });
      }
      const trigger = chosen.every(isOlder) ? "rollback" : "upload";
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

  /** Of the active deployment, the newest first. */
  async #servingVersions(
    transaction: Transaction,
    active: Deployment | undefined,
  ): Promise<ReadonlyArray<StoredVersion>> {
    const versions: StoredVersion[] = [];
    for (const { version_id } of active?.versions ?? []) {
      versions.push(await this.#parts.versions.get(transaction, version_id));
    }
    return versions.toSorted((left, right) => right.version.number - left.version.number);
  }

  async #chosenVersions(
    transaction: Transaction,
    asked: {
      readonly target: Target;
      readonly worker: StoredWorker;
      readonly request: DeploymentRequest;
    },
  ): Promise<ReadonlyArray<StoredVersion>> {
    const { target, worker, request } = asked;
    const { principal, name } = target;
    const chosen: StoredVersion[] = [];
    for (const { version_id: id } of request.versions) {
      const found = await this.#parts.versions.find(transaction, { workerId: worker.id, id });
      if (found === undefined) throw versionNotFound(name, id);
      // An older version may bind what was deleted since.
      const scope = { account: principal.account, worker: name, database: transaction };
      await checkBindings({ ...scope, ...found.version, assets: found.version.assets });
      chosen.push(found);
    }
    return chosen;
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

// wrangler adds percentages up in floating point, and allows as much.
const SUM_TOLERANCE = 0.001;

/** Throws `deployment_invalid` unless every request goes to exactly one of the versions. */
function checkSplit(versions: DeployedVersions): void {
  const ids = versions.map(({ version_id }) => version_id);
  if (new Set(ids).size < ids.length) {
    throw new ControlPlaneError(
      "deployment_invalid",
      `A deployment names each version once, not '${ids[0]}' twice`,
    );
  }
  const sum = versions.reduce((total, { percentage }) => total + percentage, 0);
  if (Math.abs(sum - 100) <= SUM_TOLERANCE) return;
  throw new ControlPlaneError(
    "deployment_invalid",
    `The percentages of a deployment must add up to 100, not ${sum}`,
  );
}
