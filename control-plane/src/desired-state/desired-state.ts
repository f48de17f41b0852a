import { setImmediate as nextTurn } from "node:timers/promises";
import {
  StateRevision,
  type AccountId,
  type PreviewLabel,
  type VersionId,
  type WorkerKey,
  type WorkerName,
} from "../contract/index.ts";
import { AccountStore } from "../accounts/store.ts";
import { chunksOf } from "../chunks-of.ts";
import type { Database, Transaction } from "../database/database.ts";
import type { DeployedVersions } from "../deployments/schemas.ts";
import { DeploymentStore } from "../deployments/store.ts";
import { ControlPlaneError } from "../errors.ts";
import type { HostNames } from "../routes/host-names.ts";
import { LIMITS } from "../limits.ts";
import type { VersionStore } from "../versions/store.ts";
import type { StoredWorker } from "../workers/schemas.ts";
import { WorkerStore } from "../workers/store.ts";
import { tailConsumersOf } from "../workers/tail-consumers.ts";
import { readRevision, type Mutations } from "./mutations.ts";
import { WorkerStates, type WorkerState } from "./worker-states.ts";

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

// Ids of one statement: far below what databases take as parameters.
const SUMMARIES_PER_QUERY = 500;

/**
 * What the fleet should run, as a monotone sequence of revisions. It is computed from the current rows:
 * a delta holds each worker that changed since, once, as it is now.
 */
export class DesiredState {
  readonly #database: Database;
  readonly #mutations: Mutations;
  readonly #versions: VersionStore;
  readonly #states: WorkerStates;
  readonly #workers = new WorkerStore();
  readonly #deployments = new DeploymentStore();
  readonly #accounts = new AccountStore();

  constructor(parts: {
    readonly database: Database;
    readonly mutations: Mutations;
    readonly versions: VersionStore;
    readonly hostNames: HostNames;
  }) {
    this.#database = parts.database;
    this.#mutations = parts.mutations;
    this.#versions = parts.versions;
    this.#states = new WorkerStates(parts);
  }

  /** The newest revision; 0 before the first change. */
  async revision(): Promise<StateRevision> {
    return StateRevision.parse(await readRevision(this.#database));
  }

  /**
   * All of it, as of one revision: read piece by piece, between which all else has its turn, and then brought up to
   * date by what changed meanwhile.
   */
  async snapshot(): Promise<StateSnapshot> {
    for (let round = 1; round <= LIMITS.stateRoundsMax; round += 1) {
      const from = await this.revision();
      const found = await this.#readAll();
      const caughtUp = await this.#catchUp(from, found);
      // Else so much changed meanwhile that the outbox no longer knows of all.
      if (caughtUp === undefined) continue;
      return { revision: caughtUp.revision, workers: [...found.values()] };
    }
    throw new ControlPlaneError("busy", "Workers change faster than they can be read");
  }

  /**
   * What changed after `from`; `undefined` when the outbox no longer reaches back so far, or `from` lies
   * ahead: then only a snapshot leads on.
   */
  async changesSince(from: StateRevision): Promise<StateDelta | undefined> {
    const found = new Map<WorkerKey, WorkerState>();
    const caughtUp = await this.#catchUp(from, found);
    if (caughtUp === undefined) return undefined;
    const { revision, changed } = caughtUp;
    const removals = [...changed].filter((key) => !found.has(key));
    return { revision, upserts: [...found.values()], removals };
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
    return this.#reading(async (transaction) => {
      const worker = await this.#workers.find(transaction, asked);
      if (worker === undefined || !worker.hasPreviews) return undefined;
      const query = { workerId: worker.id, label: asked.label };
      const found = await this.#versions.findPreview(transaction, query);
      if (found === undefined) return undefined;
      const { version } = found;
      const secrets = await this.#versions.openSecrets(transaction, worker.id, version.id);
      const { settings } = await this.#accounts.configured(transaction, worker.account);
      const versions = [{ version, percentage: 100, secrets }];
      const tailConsumers = tailConsumersOf(worker.settings);
      const { account, name } = worker;
      return { account, name, versions, routes: [], isScheduled: false, tailConsumers, settings };
    });
  }

  /** Every deployed worker, by name, without anything secret. */
  async summaries(): Promise<ReadonlyArray<WorkerSummary>> {
    return this.#reading(async (transaction) => {
      const workers = await this.#workers.listAll(transaction);
      const summaries: WorkerSummary[] = [];
      for (const some of chunksOf(workers, SUMMARIES_PER_QUERY)) {
        summaries.push(...(await this.#summarise(transaction, some)));
      }
      return summaries.sort((left, right) => left.name.localeCompare(right.name));
    });
  }

  /** Calls back after each commit with a new revision. Returns its end. */
  onChange(listener: () => void): () => void {
    return this.#mutations.onStateChange(listener);
  }

  /** Each worker as of some moment between the beginning and the end. */
  async #readAll(): Promise<Map<WorkerKey, WorkerState>> {
    const found = new Map<WorkerKey, WorkerState>();
    let name = "";
    for (;;) {
      const page = { name, limit: LIMITS.statePieceWorkers };
      const last = await this.#reading(async (transaction) => {
        const workers = await this.#workers.listAfter(transaction, page);
        const states = await this.#states.read(transaction, workers);
        for (const state of states) found.set(keyOf(state), state);
        return workers.at(-1);
      });
      if (last === undefined) return found;
      ({ name } = last);
      await nextTurn();
    }
  }

  /**
   * Reads what changed after `from` into `found`, until that is as of one revision: many changes piece by piece,
   * and then those that were made meanwhile.
   */
  async #catchUp(
    from: StateRevision,
    found: Map<WorkerKey, WorkerState>,
  ): Promise<
    { readonly revision: StateRevision; readonly changed: ReadonlySet<WorkerKey> } | undefined
  > {
    const all = new Set<WorkerKey>();
    let after = from;
    for (let round = 1; ; round += 1) {
      const step = await this.#reading(async (transaction) => {
        const changes = await changesAfter(transaction, after);
        if (changes === undefined) return undefined;
        const { changed } = changes;
        const isLast =
          changed.length <= LIMITS.statePieceWorkers || round === LIMITS.stateRoundsMax;
        if (isLast) await this.#readInto(found, transaction, changed);
        return { ...changes, isLast };
      });
      if (step === undefined) return undefined;
      const { revision, changed, isLast } = step;
      for (const { account, name } of changed) all.add(`${account}/${name}`);
      if (isLast) return { revision, changed: all };
      for (const some of chunksOf(changed, LIMITS.statePieceWorkers)) {
        await this.#reading((transaction) => this.#readInto(found, transaction, some));
        await nextTurn();
      }
      after = revision;
    }
  }

  /** Puts workers into `found` as they are now, and takes out those that are no more. */
  async #readInto(
    found: Map<WorkerKey, WorkerState>,
    transaction: Transaction,
    changed: ReadonlyArray<ChangedWorker>,
  ): Promise<void> {
    const keys = new Set(changed.map(({ account, name }): WorkerKey => `${account}/${name}`));
    const names = [...new Set(changed.map(({ name }) => name))];
    const workers = await this.#workers.listNamed(transaction, names);
    const own = workers.filter((worker) => keys.has(keyOf(worker)));
    const states = await this.#states.read(transaction, own);
    for (const key of keys) found.delete(key);
    for (const state of states) found.set(keyOf(state), state);
  }

  /** What is read is of one revision. */
  #reading<Result>(read: (transaction: Transaction) => Promise<Result>): Promise<Result> {
    return this.#database.transaction().setAccessMode("read only").execute(read);
  }

  async #summarise(
    transaction: Transaction,
    workers: ReadonlyArray<StoredWorker>,
  ): Promise<ReadonlyArray<WorkerSummary>> {
    const ids = workers.map(({ id }) => id);
    const deployments = await this.#deployments.activeOf(transaction, ids);
    const serving = new Map(
      [...deployments].map(([id, { versions }]) => [id, mostServing(versions)] as const),
    );
    const known = [...serving.values()].filter((id) => id !== undefined);
    const createdAt = await this.#versions.createdAt(transaction, known);
    const routes = await this.#states.routesOf(transaction, workers);
    return workers.flatMap(({ id, name }) => {
      const version = serving.get(id);
      if (version === undefined) return [];
      const at = createdAt.get(version) ?? "";
      return [{ name, version, createdAt: at, routes: routes.get(id) ?? [] }];
    });
  }
}

/** A worker that changed, whoever has its name now. */
interface ChangedWorker {
  readonly account: string;
  readonly name: string;
}

/** Which workers changed after a revision, each once. `undefined` as `changesSince` has it. */
async function changesAfter(
  transaction: Transaction,
  from: StateRevision,
): Promise<
  { readonly revision: StateRevision; readonly changed: ReadonlyArray<ChangedWorker> } | undefined
> {
  const revision = StateRevision.parse(await readRevision(transaction));
  if (from > revision) return undefined;
  const rows = await transaction
    .selectFrom("state_changes")
    .select(["account_id as account", "worker as name"])
    .where("revision", ">", from)
    .orderBy("revision")
    .execute();
  // Revisions have no gaps, so a complete tail begins right after `from`.
  if (rows.length !== revision - from) return undefined;
  const changed = new Map(rows.map((row) => [`${row.account}/${row.name}`, row]));
  return { revision, changed: [...changed.values()] };
}

function keyOf(worker: Pick<WorkerState, "account" | "name">): WorkerKey {
  return `${worker.account}/${worker.name}`;
}

/** The version with the largest part of the requests. */
function mostServing(versions: DeployedVersions): VersionId | undefined {
  return versions.toSorted((left, right) => right.percentage - left.percentage)[0]?.version_id;
}
