import type {
  AccountId,
  AccountSettings,
  SecretValues,
  Version,
  WorkerName,
} from "../contract/index.ts";
import { AccountStore } from "../accounts/store.ts";
import { chunksOf } from "../chunks-of.ts";
import type { Transaction } from "../database/database.ts";
import { DeploymentStore } from "../deployments/store.ts";
import type { HostNames } from "../routes/host-names.ts";
import { RouteStore } from "../routes/store.ts";
import { ScheduleStore } from "../schedules/store.ts";
import type { VersionStore } from "../versions/store.ts";
import type { StoredWorker } from "../workers/schemas.ts";
import { tailConsumersOf } from "../workers/tail-consumers.ts";

/** A version that serves, with its secrets in the clear: in memory only, to be sealed per node. */
interface VersionState {
  readonly version: Version;
  readonly percentage: number;
  readonly secrets: SecretValues;
}

/** What the fleet runs for one worker. */
export interface WorkerState {
  readonly account: AccountId;
  readonly name: WorkerName;
  readonly versions: ReadonlyArray<VersionState>;
  readonly routes: ReadonlyArray<string>;
  /** As the contract's `DesiredWorker` has it. */
  readonly previewHost?: string;
  /** Whether it has schedules. */
  readonly isScheduled: boolean;
  readonly tailConsumers: ReadonlyArray<WorkerName>;
  readonly settings: AccountSettings;
}

// Ids of one statement: far below what databases take as parameters, and few statements for thousands.
const WORKERS_PER_QUERY = 500;

/** Puts together what the fleet runs for workers, with a few statements for hundreds of them. */
export class WorkerStates {
  readonly #versions: VersionStore;
  readonly #hostNames: HostNames;
  readonly #accounts = new AccountStore();
  readonly #deployments = new DeploymentStore();
  readonly #routes = new RouteStore();
  readonly #schedules = new ScheduleStore();

  constructor(parts: { readonly versions: VersionStore; readonly hostNames: HostNames }) {
    this.#versions = parts.versions;
    this.#hostNames = parts.hostNames;
  }

  /** In the order of the workers, without those of which nothing is deployed. */
  async read(
    transaction: Transaction,
    workers: ReadonlyArray<StoredWorker>,
  ): Promise<ReadonlyArray<WorkerState>> {
    const states: WorkerState[] = [];
    for (const some of chunksOf(workers, WORKERS_PER_QUERY)) {
      states.push(...(await this.#readSome(transaction, some)));
    }
    return states;
  }

  /** Every pattern that leads to each of some workers, by the worker's id. */
  async routesOf(
    transaction: Transaction,
    workers: ReadonlyArray<StoredWorker>,
  ): Promise<ReadonlyMap<string, ReadonlyArray<string>>> {
    const patterns = await this.#routes.patternsOf(
      transaction,
      workers.map(({ id }) => id),
    );
    return new Map(
      workers.map((worker) => {
        const own = worker.isOnSubdomain ? [`${this.#hostNames.hostOf(worker.name)}/*`] : [];
        // A custom domain and a route may say the same.
        return [worker.id, [...new Set([...own, ...(patterns.get(worker.id) ?? [])])]];
      }),
    );
  }

  async #readSome(
    transaction: Transaction,
    workers: ReadonlyArray<StoredWorker>,
  ): Promise<ReadonlyArray<WorkerState>> {
    const ids = workers.map(({ id }) => id);
    const deployments = await this.#deployments.activeOf(transaction, ids);
    const serving = [...deployments].flatMap(([workerId, { versions }]) =>
      versions.map(({ version_id: versionId }) => ({ workerId, versionId })),
    );
    const versions = await this.#versions.getAll(
      transaction,
      serving.map(({ versionId }) => versionId),
    );
    const secrets = await this.#versions.openAllSecrets(transaction, serving);
    const routes = await this.routesOf(transaction, workers);
    const scheduled = await this.#schedules.scheduledOf(transaction, ids);
    const settings = await this.#accounts.settingsOf(
      transaction,
      workers.map(({ account }) => account),
    );
    const states: WorkerState[] = [];
    for (const worker of workers) {
      const deployment = deployments.get(worker.id);
      if (deployment === undefined) continue;
      states.push({
        account: worker.account,
        name: worker.name,
        versions: deployment.versions.map(({ version_id: id, percentage }) => ({
          version: known(versions.get(id), id).version,
          percentage,
          secrets: secrets.get(id) ?? {},
        })),
        routes: routes.get(worker.id) ?? [],
        ...(worker.hasPreviews ? { previewHost: this.#hostNames.hostOf(worker.name) } : {}),
        isScheduled: scheduled.has(worker.id),
        tailConsumers: tailConsumersOf(worker.settings),
        settings: known(settings.get(worker.account), worker.account),
      });
    }
    return states;
  }
}

/** What a row refers to is there: the database sees to it. */
function known<Found>(found: Found | undefined, id: string): Found {
  if (found === undefined) throw new Error(`${id} is missing, and something refers to it`);
  return found;
}
