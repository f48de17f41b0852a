import type { Database, Transaction } from "../database/database.ts";
import { DeploymentStore } from "../deployments/store.ts";
import { ControlPlaneError } from "../errors.ts";
import {
  workerNotFound,
  type Publisher,
  type VersionBase,
  type VersionDraft,
} from "../versions/publisher.ts";
import type { Annotations, StoredVersion } from "../versions/schemas.ts";
import type { Target } from "../versions/service.ts";
import type { VersionStore } from "../versions/store.ts";
import { WorkerStore } from "../workers/store.ts";
import { draftSecrets, draftSettings } from "./drafts.ts";
import type { SecretChanges, SettingsPatch } from "./schemas.ts";

export interface SecretsServiceParts {
  readonly database: Database;
  readonly versions: VersionStore;
  readonly publisher: Publisher;
}

/**
 * Secrets of workers: bindings whose values are sealed at rest and never given back. A version is
 * immutable, so each change makes a new one; all but `patchLatest` deploy it too.
 */
export class SecretsService {
  readonly #parts: SecretsServiceParts;
  readonly #workers = new WorkerStore();
  readonly #deployments = new DeploymentStore();

  constructor(parts: SecretsServiceParts) {
    this.#parts = parts;
  }

  /** Names of the newest version's secrets. */
  async list({ principal, name }: Target): Promise<ReadonlyArray<string>> {
    const { database, versions } = this.#parts;
    const worker = await this.#workers.find(database, { account: principal.account, name });
    if (worker === undefined) throw workerNotFound(name);
    const latest = await versions.latest(database, worker.id);
    const bindings = latest?.version.bindings ?? [];
    return bindings.filter(({ type }) => type === "secret_text").map((secret) => secret.name);
  }

  /**
   * Sets and deletes secrets at once, and deploys. Rejected with `version_not_deployed` while something
   * newer than what serves waits to be deployed: this would deploy that as well.
   */
  async change(target: Target, changes: SecretChanges): Promise<StoredVersion> {
    return this.#deploy(target, (base) => draftSecrets(base, changes, {}));
  }

  /** Makes the newest version anew with the patch's bindings, and deploys it. */
  async replaceBindings(target: Target, patch: SettingsPatch): Promise<StoredVersion> {
    // wrangler 4.86 sets secrets in bulk so, and nothing else.
    return this.#deploy(target, (base) => draftSettings(base, patch));
  }

  /** Makes the newest version anew with other secrets; what serves stays. */
  async patchLatest(
    target: Target,
    changes: SecretChanges,
    annotations: Annotations,
  ): Promise<StoredVersion> {
    return this.#parts.publisher.publish({
      ...target,
      trigger: "secret",
      isDeployed: false,
      isCreating: false,
      draft: async (base) => draftSecrets(requireBase(base, target), changes, annotations),
    });
  }

  /** Makes the newest version anew, and deploys it. */
  #deploy(target: Target, draft: (base: VersionBase) => VersionDraft): Promise<StoredVersion> {
    return this.#parts.publisher.publish({
      ...target,
      // The only word that wrangler has for it.
      trigger: "secret",
      isDeployed: true,
      isCreating: false,
      draft: async (base) => {
        const existing = requireBase(base, target);
        await this.#requireDeployed(this.#parts.database, existing);
        return draft(existing);
      },
      // A rollback while it was being started would be undone.
      alongside: ({ transaction }, { base }) =>
        this.#requireDeployed(transaction, requireBase(base, target)),
    });
  }

  async #requireDeployed(
    database: Database | Transaction,
    { worker, latest }: VersionBase,
  ): Promise<void> {
    const deployment = await this.#deployments.active(database, worker.id);
    const serving = deployment?.versions ?? [];
    if (serving.length === 1 && serving[0]?.version_id === latest.version.id) return;
    throw new ControlPlaneError(
      "version_not_deployed",
      `The newest version of '${worker.name}' is not the one that is deployed: deploy it first, or change its secrets with 'wrangler versions secret'`,
    );
  }
}

function requireBase(base: VersionBase | undefined, target: Target): VersionBase {
  if (base === undefined) throw workerNotFound(target.name);
  return base;
}
