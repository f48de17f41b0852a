import { isDeepStrictEqual } from "node:util";
import type { Facts } from "../audit/schemas.ts";
import type { Binding } from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import { DeploymentStore } from "../deployments/store.ts";
import type { Mutations } from "../desired-state/mutations.ts";
import { ControlPlaneError } from "../errors.ts";
import type { Principal } from "../http/request-context.ts";
import { workerNotFound } from "../versions/publisher.ts";
import type { StoredVersion } from "../versions/schemas.ts";
import type { Target } from "../versions/service.ts";
import type { VersionStore } from "../versions/store.ts";
import type { ScriptSettingsPatch, StoredWorker, SubdomainSwitch } from "./schemas.ts";
import { WorkerStore } from "./store.ts";
import {
  checkTailConsumers,
  refuseNewConsumers,
  tailConsumersOf,
  tailProducersOf,
} from "./tail-consumers.ts";

/** A worker beside its newest version. */
export interface WorkerDetails {
  readonly worker: StoredWorker;
  readonly latest: StoredVersion;
}

export interface WorkersServiceParts {
  readonly database: Database;
  readonly mutations: Mutations;
  readonly versions: VersionStore;
}

/** Workers as a whole: what there is, their settings, their end. */
export class WorkersService {
  readonly #parts: WorkersServiceParts;
  readonly #workers = new WorkerStore();
  readonly #deployments = new DeploymentStore();

  constructor(parts: WorkersServiceParts) {
    this.#parts = parts;
  }

  /** `undefined` when the account has no worker of this name. */
  async find(target: Target): Promise<WorkerDetails | undefined> {
    const { database } = this.#parts;
    const worker = await this.#workers.find(database, addressOf(target));
    return worker && this.#details(database, worker);
  }

  /** Rejected with `worker_not_found`. */
  async get(target: Target): Promise<WorkerDetails> {
    const details = await this.find(target);
    if (details === undefined) throw workerNotFound(target.name);
    return details;
  }

  async list(principal: Principal): Promise<ReadonlyArray<WorkerDetails>> {
    const { database } = this.#parts;
    const workers = await this.#workers.list(database, principal.account);
    const all = await Promise.all(workers.map((worker) => this.#details(database, worker)));
    return all.filter((details) => details !== undefined);
  }

  /** Changes what the patch names. Rejected with `tail_consumer_invalid`. */
  async patchSettings(target: Target, patch: ScriptSettingsPatch): Promise<StoredWorker> {
    const { streaming_tail_consumers: streams, ...settings } = patch;
    if ((streams?.length ?? 0) > 0) {
      throw new ControlPlaneError(
        "unsupported",
        "Atoll does not support streaming tail consumers yet",
      );
    }
    return this.#change(target, "worker.settings", (worker) => ({
      ...worker,
      settings: { ...worker.settings, ...settings },
    }));
  }

  /** Puts the worker on its own host, or takes it off. */
  async switchSubdomain(target: Target, state: SubdomainSwitch): Promise<StoredWorker> {
    return this.#change(target, "worker.subdomain", (worker) => ({
      ...worker,
      isOnSubdomain: state.enabled,
      hasPreviews: state.previews_enabled ?? state.enabled,
    }));
  }

  /** Names of the account's workers whose serving versions call this one by a service binding. */
  async callersOf(target: Target): Promise<ReadonlyArray<string>> {
    return this.#callersOf(this.#parts.database, target);
  }

  /** Names of the account's workers that this one hears of as their tail consumer. */
  async tailProducersOf({ principal, name }: Target): Promise<ReadonlyArray<string>> {
    return tailProducersOf(this.#parts.database, { account: principal.account, name });
  }

  /**
   * Removes the worker with its versions, secrets, deployments and routes. Without force rejected with
   * `worker_in_use` while others call it: they would fail.
   */
  async remove(target: Target, options: { readonly isForced: boolean }): Promise<void> {
    await this.#parts.mutations.run(target.principal, async (mutation) => {
      const { transaction } = mutation;
      const worker = await this.#workers.find(transaction, addressOf(target));
      if (worker === undefined) throw workerNotFound(target.name);
      const callers = options.isForced ? [] : await this.#callersOf(transaction, target);
      if (callers.length > 0) {
        throw new ControlPlaneError(
          "worker_in_use",
          `The worker '${target.name}' is bound as a service by ${callers.join(", ")}: delete those first, or use --force`,
        );
      }
      await this.#workers.remove(transaction, worker.id);
      await mutation.changed(target.name);
      const before = { ...auditedWorker(worker), version: worker.versionNumber };
      await mutation.audit({ action: "worker.delete", subject: target.name, before });
    });
  }

  async #change(
    target: Target,
    action: string,
    change: (worker: StoredWorker) => StoredWorker,
  ): Promise<StoredWorker> {
    return this.#parts.mutations.run(target.principal, async (mutation) => {
      const worker = await this.#workers.find(mutation.transaction, addressOf(target));
      if (worker === undefined) throw workerNotFound(target.name);
      const changed = change(worker);
      // wrangler repeats the same switch after every deploy: what changes nothing is no mutation.
      if (JSON.stringify(changed) === JSON.stringify(worker)) return worker;
      const [heardBefore, heard] = [worker, changed].map((each) => tailConsumersOf(each.settings));
      const isHeardByOthers = !isDeepStrictEqual(heardBefore, heard);
      if (isHeardByOthers) {
        const { settings: wanted } = changed;
        refuseNewConsumers(target.principal, { wanted, earlier: worker.settings });
        await checkTailConsumers(mutation.transaction, changed);
      }
      await this.#workers.update(mutation.transaction, { ...changed, modifiedAt: mutation.now });
      const isSame =
        changed.isOnSubdomain === worker.isOnSubdomain &&
        changed.hasPreviews === worker.hasPreviews;
      if (!isSame || isHeardByOthers) await mutation.changed(target.name);
      const [before, after] = [auditedWorker(worker), auditedWorker(changed)];
      await mutation.audit({ action, subject: target.name, before, after });
      return changed;
    });
  }

  async #callersOf(
    database: Database | Transaction,
    { principal, name }: Target,
  ): Promise<ReadonlyArray<string>> {
    const callers: string[] = [];
    for (const worker of await this.#workers.list(database, principal.account)) {
      if (worker.name === name) continue;
      const deployment = await this.#deployments.active(database, worker.id);
      const ids = (deployment?.versions ?? []).map(({ version_id }) => version_id);
      const serving = [...(await this.#parts.versions.getAll(database, ids)).values()];
      const bindings = serving.flatMap(({ version }) => version.bindings);
      if (bindings.some((binding) => callsWorker(binding, name))) callers.push(worker.name);
    }
    return callers;
  }

  /** `undefined` for a worker that somebody removed since it was read: every other one has a version. */
  async #details(database: Database, worker: StoredWorker): Promise<WorkerDetails | undefined> {
    const latest = await this.#parts.versions.latest(database, worker.id);
    return latest && { worker, latest };
  }
}

function auditedWorker({ settings, isOnSubdomain, hasPreviews }: StoredWorker): Facts {
  return { settings, isOnSubdomain, hasPreviews };
}

function addressOf({ principal, name }: Target) {
  return { account: principal.account, name };
}

function callsWorker(binding: Binding, name: string): boolean {
  return binding.type === "service" && binding.service === name;
}
