import {
  AccountId,
  StateRevision,
  WorkerName,
  type AccountSettings,
  type PreviewLabel,
  type SecretValues,
  type Version,
  type WorkerKey,
} from "../contract/index.ts";
import { AccountStore } from "../accounts/store.ts";
import type { Database, Transaction } from "../database/database.ts";
import { DeploymentStore } from "../deployments/store.ts";
import type { HostNames } from "../routes/host-names.ts";
import { RouteStore } from "../routes/store.ts";
import { ScheduleStore } from "../schedules/store.ts";
import type { VersionStore } from "../versions/store.ts";
import type { StoredWorker } from "../workers/schemas.ts";
import { WorkerStore } from "../workers/store.ts";
import { readRevision, type Mutations } from "./mutations.ts";

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
  readonly settings: AccountSettings;
}

/** A worker as people look at it: what serves, since when, and where. */
export interface WorkerSummary {
  readonly name: WorkerName;
  /** Id of the version that serves most requests. */
  readonly version: string;
  readonly createdAt: string;
  readonly routes: ReadonlyArray<string>;
}

export interface StateSnapshot {
  readonly revision: StateRevision;
  readonly workers: ReadonlyArray<WorkerState>;
}

export interface StateDelta {
  readonly revision: StateRevision;
  readonly upserts: ReadonlyArray<WorkerState>;
  readonly removals: ReadonlyArray<WorkerKey>;
}

/**
 * What the fleet should run, as a monotone sequence of revisions. It is computed from the current rows:
 * a delta holds each worker that changed since, once, as it is now.
 */
export class DesiredState {
  readonly #database: Database;
  readonly #mutations: Mutations;
  readonly #versions: VersionStore;
  readonly #hostNames: HostNames;
  readonly #accounts = new AccountStore();
  readonly #workers = new WorkerStore();
  readonly #deployments = new DeploymentStore();
  readonly #routes = new RouteStore();
  readonly #schedules = new ScheduleStore();

  constructor(parts: {
    readonly database: Database;
    readonly mutations: Mutations;
    readonly versions: VersionStore;
    readonly hostNames: HostNames;
  }) {
    this.#database = parts.database;
    this.#mutations = parts.mutations;
    this.#versions = parts.versions;
    this.#hostNames = parts.hostNames;
  }

  /** The newest revision; 0 before the first change. */
  async revision(): Promise<StateRevision> {
    return StateRevision.parse(await readRevision(this.#database));
  }

  /** All of it, as of one revision. */
  async snapshot(): Promise<StateSnapshot> {
    return this.#database.transaction().execute(async (transaction) => {
      const revision = StateRevision.parse(await readRevision(transaction));
      const workers: WorkerState[] = [];
      for (const worker of await this.#workers.listAll(transaction)) {
        const state = await this.#describe(transaction, worker);
        if (state !== undefined) workers.push(state);
      }
      return { revision, workers };
    });
  }

  /**
   * What changed after `from`; `undefined` when the outbox no longer reaches back so far, or `from` lies
   * ahead: then only a snapshot leads on.
   */
  async changesSince(from: StateRevision): Promise<StateDelta | undefined> {
    return this.#database.transaction().execute(async (transaction) => {
      const revision = StateRevision.parse(await readRevision(transaction));
      if (from > revision) return undefined;
      const rows = await transaction
        .selectFrom("state_changes")
        .select(["revision", "account_id", "worker"])
        .where("revision", ">", from)
        .orderBy("revision")
        .execute();
      // Revisions have no gaps, so a complete tail begins right after `from`.
      if (rows.length !== revision - from) return undefined;
      const upserts: WorkerState[] = [];
      const removals: WorkerKey[] = [];
      const changed = new Map(rows.map((row) => [`${row.account_id}/${row.worker}`, row]));
      for (const [key, row] of changed) {
        const account = AccountId.parse(row.account_id);
        const name = WorkerName.parse(row.worker);
        const worker = await this.#workers.find(transaction, { account, name });
        const state = worker && (await this.#describe(transaction, worker));
        if (state === undefined) removals.push(key);
        else upserts.push(state);
      }
      return { revision, upserts, removals };
    });
  }

  /**
   * The version that a preview's label names, as if it were the only one of its worker; `undefined` without
   * such a version, or where the worker has no previews.
   */
  async preview(asked: {
    readonly account: AccountId;
    readonly name: WorkerName;
    readonly label: PreviewLabel;
  }): Promise<WorkerState | undefined> {
    return this.#database.transaction().execute(async (transaction) => {
      const worker = await this.#workers.find(transaction, asked);
      if (worker === undefined || !worker.hasPreviews) return undefined;
      const query = { workerId: worker.id, label: asked.label };
      const found = await this.#versions.findPreview(transaction, query);
      if (found === undefined) return undefined;
      const { version } = found;
      const secrets = await this.#versions.openSecrets(transaction, worker.id, version.id);
      const settings = await this.#accounts.settings(transaction, worker.account);
      const versions = [{ version, percentage: 100, secrets }];
      const { account, name } = worker;
      return { account, name, versions, routes: [], isScheduled: false, settings };
    });
  }

  /** Every deployed worker, by name, without anything secret. */
  async summaries(): Promise<ReadonlyArray<WorkerSummary>> {
    return this.#database.transaction().execute(async (transaction) => {
      const summaries: WorkerSummary[] = [];
      for (const worker of await this.#workers.listAll(transaction)) {
        const deployment = await this.#deployments.active(transaction, worker.id);
        const [serving] = [...(deployment?.versions ?? [])].sort(
          (left, right) => right.percentage - left.percentage,
        );
        if (serving === undefined) continue;
        const { version } = await this.#versions.get(transaction, serving.version_id);
        const { id, createdAt } = version;
        const routes = await this.#routesOf(transaction, worker);
        summaries.push({ name: worker.name, version: id, createdAt, routes });
      }
      return summaries.sort((left, right) => left.name.localeCompare(right.name));
    });
  }

  /** Calls back after each commit with a new revision. Returns its end. */
  onChange(listener: () => void): () => void {
    return this.#mutations.onStateChange(listener);
  }

  /** `undefined` for a worker of which nothing is deployed. */
  async #describe(
    transaction: Transaction,
    worker: StoredWorker,
  ): Promise<WorkerState | undefined> {
    const deployment = await this.#deployments.active(transaction, worker.id);
    if (deployment === undefined) return undefined;
    const versions: VersionState[] = [];
    for (const { version_id, percentage } of deployment.versions) {
      const { version } = await this.#versions.get(transaction, version_id);
      const secrets = await this.#versions.openSecrets(transaction, worker.id, version_id);
      versions.push({ version, percentage, secrets });
    }
    const routes = await this.#routesOf(transaction, worker);
    const settings = await this.#accounts.settings(transaction, worker.account);
    const isScheduled = await this.#schedules.isScheduled(transaction, worker.id);
    const { account, name } = worker;
    const previews = worker.hasPreviews ? { previewHost: this.#hostNames.hostOf(name) } : {};
    return { account, name, versions, routes, ...previews, isScheduled, settings };
  }

  async #routesOf(transaction: Transaction, worker: StoredWorker): Promise<ReadonlyArray<string>> {
    const own = worker.isOnSubdomain ? [`${this.#hostNames.hostOf(worker.name)}/*`] : [];
    const routes = await this.#routes.patternsOf(transaction, worker.id);
    // A custom domain and a route may say the same.
    return [...new Set([...own, ...routes])];
  }
}
