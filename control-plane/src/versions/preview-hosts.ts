import type { AccountId, WorkerName } from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import { ControlPlaneError } from "../errors.ts";
import { checkOwnHost } from "../routes/conflicts.ts";
import type { HostNames } from "../routes/host-names.ts";
import { RouteStore } from "../routes/store.ts";
import type { StoredWorker } from "../workers/schemas.ts";
import { WorkerStore } from "../workers/store.ts";
import type { VersionStore } from "./store.ts";

/** A name below the base domain that an account wants: a worker's, or a preview's `<label>-<worker>`. */
interface WantedName {
  readonly account: AccountId;
  readonly name: string;
}

/**
 * Keeps accounts out of each other's hosts of previews: nodes ask for a preview only where nothing else has a
 * host, so a name belongs to whoever has it first, be it as a worker, by a route or as a preview.
 */
export class PreviewHosts {
  readonly #hostNames: HostNames;
  readonly #versions: VersionStore;
  readonly #workers = new WorkerStore();
  readonly #routes = new RouteStore();

  constructor(parts: { readonly hostNames: HostNames; readonly versions: VersionStore }) {
    this.#hostNames = parts.hostNames;
    this.#versions = parts.versions;
  }

  /** Refuses, with `route_conflict`, a name that another account has a preview of, or a part of such a name. */
  async requireNoPreview(database: Database | Transaction, wanted: WantedName): Promise<void> {
    for (const worker of await this.#workersBehind(database, wanted)) {
      const label = wanted.name.slice(0, -worker.name.length - 1);
      const labels = await this.#versions.previewLabels(database, worker.id);
      // A longer name is the one that a node asks for the rest: `x-my` of `app` would become `x` of `my-app`.
      if (labels.some((each) => each === label || each.endsWith(`-${label}`))) {
        throw this.#taken(wanted.name, "is one of another account's previews");
      }
    }
  }

  /** Refuses, with `route_conflict`, an alias by which requests would get to what another account has there. */
  async requireFree(
    database: Database | Transaction,
    preview: { readonly account: AccountId; readonly worker: WorkerName; readonly alias: string },
  ): Promise<void> {
    const { account, worker, alias } = preview;
    const name = `${alias}-${worker}`;
    const [same] = await this.#workers.listNamed(database, [name]);
    const longer = await this.#workersBehind(database, { account, name });
    const isForeign = same !== undefined && same.account !== account;
    if (isForeign || longer.some((each) => each.name.length > worker.length)) {
      throw this.#taken(name, "leads to a worker of another account: choose another alias");
    }
    const host = this.#hostNames.hostOf(name);
    checkOwnHost(host, await this.#routes.listNear(database, [host]), account);
  }

  /** Workers of other accounts of which the name could be a preview. */
  async #workersBehind(
    database: Database | Transaction,
    { account, name }: WantedName,
  ): Promise<ReadonlyArray<StoredWorker>> {
    const parts = name.split("-");
    const names = parts.map((_, index) => parts.slice(index).join("-")).slice(1);
    if (names.length === 0) return [];
    const workers = await this.#workers.listNamed(database, names);
    return workers.filter((worker) => worker.hasPreviews && worker.account !== account);
  }

  #taken(name: string, why: string): ControlPlaneError {
    const host = this.#hostNames.hostOf(name);
    return new ControlPlaneError("route_conflict", `The host ${host} ${why}`);
  }
}
