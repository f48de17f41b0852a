import { AccountStore } from "../accounts/store.ts";
import type { Database, Transaction } from "../database/database.ts";
import type { Mutation, Mutations } from "../desired-state/mutations.ts";
import { ControlPlaneError } from "../errors.ts";
import type { Ownership } from "../ownership/ownership.ts";
import type { Principal } from "../http/request-context.ts";
import { PreviewHosts } from "../versions/preview-hosts.ts";
import { workerNotFound } from "../versions/publisher.ts";
import type { Target } from "../versions/service.ts";
import type { VersionStore } from "../versions/store.ts";
import { WorkerStore } from "../workers/store.ts";
import type { StoredWorker } from "../workers/schemas.ts";
import {
  checkPattern,
  reachesIntoOthers,
  takesCommonGround,
  type Neighbours,
} from "./conflicts.ts";
import type { HostNames } from "./host-names.ts";
import { normalizePattern, splitPattern } from "./route-pattern.ts";
import type { NamedRoute, RouteKind } from "./schemas.ts";
import { RouteStore } from "./store.ts";

export interface RoutesServiceParts {
  readonly database: Database;
  readonly mutations: Mutations;
  readonly hostNames: HostNames;
  readonly versions: VersionStore;
  readonly ownership: Ownership;
}

/** Which requests lead to which worker, beyond each worker's own host. */
export class RoutesService {
  readonly #parts: RoutesServiceParts;
  readonly #workers = new WorkerStore();
  readonly #routes = new RouteStore();
  readonly #accounts = new AccountStore();
  readonly #previewHosts: PreviewHosts;

  constructor(parts: RoutesServiceParts) {
    this.#parts = parts;
    this.#previewHosts = new PreviewHosts(parts);
  }

  /** Makes these all routes of the worker. Rejected with `route_invalid`, `route_conflict` or `domain_unproved`. */
  async replaceRoutes(target: Target, patterns: ReadonlyArray<string>): Promise<void> {
    const normal = distinct(patterns.map(normalizePattern));
    await this.#parts.mutations.run(target.principal, async (mutation) => {
      const worker = await this.#requireWorker(mutation.transaction, target);
      await this.#replace(mutation, { target, worker, kind: "route", patterns: normal });
    });
  }

  /**
   * Makes these all custom domains of the worker. With `isTakingOver` a domain that another worker of the
   * account has moves here, as wrangler asks for when its user agreed; else it is a `route_conflict`.
   */
  async replaceDomains(
    target: Target,
    request: { readonly hosts: ReadonlyArray<string>; readonly isTakingOver: boolean },
  ): Promise<void> {
    const patterns = distinct(request.hosts.map(domainPattern));
    await this.#parts.mutations.run(target.principal, async (mutation) => {
      const worker = await this.#requireWorker(mutation.transaction, target);
      // A token of this worker can't take from others: for it their domains stay conflicts.
      const { kind: reach } = target.principal.scope;
      if (request.isTakingOver && reach === "account") {
        await this.#release(mutation, { worker, patterns });
      }
      await this.#replace(mutation, { target, worker, kind: "custom_domain", patterns });
    });
  }

  /** Every route of the caller's account. */
  async list(principal: Principal): Promise<ReadonlyArray<NamedRoute>> {
    return this.#routes.listOwned(this.#parts.database, principal.account);
  }

  async #replace(
    mutation: Mutation,
    set: {
      readonly target: Target;
      readonly worker: StoredWorker;
      readonly kind: RouteKind;
      readonly patterns: ReadonlyArray<string>;
    },
  ): Promise<void> {
    const { transaction, now } = mutation;
    const { target, worker, kind, patterns } = set;
    const { hostNames } = this.#parts;
    const hosts = patterns.map((pattern) => splitPattern(pattern).host);
    const routes = await this.#routes.listNear(transaction, hosts);
    const names = hosts.flatMap((host) => hostNames.workerOf(host) ?? []);
    const workers = await this.#workers.listNamed(transaction, names);
    const neighbours = { hostNames, routes, workers };
    for (const pattern of patterns) checkPattern(pattern, worker, neighbours);
    const before = await this.#routes.listOf(transaction, { workerId: worker.id, kind });
    const added = patterns.filter((pattern) => !before.some((route) => route.pattern === pattern));
    refuseOthersHosts(target, added, neighbours);
    const addedHosts = added.map((pattern) => splitPattern(pattern).host);
    await this.#parts.ownership.requireHosts(transaction, worker.account, addedHosts);
    await this.#requireGround(transaction, worker, added);
    // wrangler sends the same routes with every deploy: what changes nothing is no mutation.
    if (
      isSameSet(
        before.map(({ pattern }) => pattern),
        patterns,
      )
    )
      return;
    const { account, id: workerId } = worker;
    await this.#routes.replace(transaction, { account, workerId, kind, patterns, now });
    await mutation.changed(worker.name);
    await mutation.audit({
      action: `${kind}.replace`,
      subject: worker.name,
      before: { patterns: before.map(({ pattern }) => pattern) },
      after: { patterns },
    });
  }

  /** Refuses, with `route_conflict`, hosts below the base domain that are not the account's to take. */
  async #requireGround(
    transaction: Transaction,
    { account }: StoredWorker,
    patterns: ReadonlyArray<string>,
  ): Promise<void> {
    const { hostNames } = this.#parts;
    for (const pattern of patterns) {
      const name = hostNames.workerOf(splitPattern(pattern).host);
      if (takesCommonGround(pattern, hostNames)) {
        const first = await this.#accounts.first(transaction);
        if (first?.id === account) continue;
        throw new ControlPlaneError(
          "route_conflict",
          `The route '${pattern}' is refused: it takes every host below '${hostNames.baseDomain}' that nobody else has, previews of others among them, which only the account that was made first may`,
        );
      }
      if (name !== undefined) {
        await this.#previewHosts.requireNoPreview(transaction, { account, name });
      }
    }
  }

  /** Takes custom domains from the account's other workers. */
  async #release(
    mutation: Mutation,
    taken: { readonly worker: StoredWorker; readonly patterns: ReadonlyArray<string> },
  ): Promise<void> {
    const hosts = taken.patterns.map((pattern) => splitPattern(pattern).host);
    for (const route of await this.#routes.listNear(mutation.transaction, hosts)) {
      const isTaken =
        route.kind === "custom_domain" &&
        route.account === taken.worker.account &&
        route.workerId !== taken.worker.id &&
        taken.patterns.includes(route.pattern);
      if (!isTaken) continue;
      await this.#routes.remove(mutation.transaction, route.id);
      const loser = await this.#workers.get(mutation.transaction, route.workerId);
      await mutation.changed(loser.name);
      const { pattern } = route;
      const [before, after] = [{ pattern }, { takenBy: taken.worker.name }];
      const action = "custom_domain.release";
      await mutation.audit({ action, subject: loser.name, before, after });
    }
  }

  async #requireWorker(transaction: Transaction, target: Target): Promise<StoredWorker> {
    const { principal, name } = target;
    const worker = await this.#workers.find(transaction, { account: principal.account, name });
    if (worker === undefined) throw workerNotFound(name);
    return worker;
  }
}

/** A token of one worker must not lead requests away from others of its account. Throws `scope_exceeded`. */
function refuseOthersHosts(
  { principal, name }: Target,
  patterns: ReadonlyArray<string>,
  neighbours: Neighbours,
): void {
  const { account, scope } = principal;
  if (scope.kind === "account") return;
  const taken = patterns.find((each) => reachesIntoOthers(each, { account, name }, neighbours));
  if (taken === undefined) return;
  throw new ControlPlaneError(
    "scope_exceeded",
    `Authentication error: the API token is for the worker '${name}' alone, and '${taken}' takes requests of another worker`,
  );
}

/** A custom domain takes every path of its host. */
export function domainPattern(host: string): string {
  return normalizePattern(`${host}/*`);
}

function distinct(patterns: ReadonlyArray<string>): ReadonlyArray<string> {
  return [...new Set(patterns)];
}

function isSameSet(left: ReadonlyArray<string>, right: ReadonlyArray<string>): boolean {
  return left.length === right.length && left.every((item) => right.includes(item));
}
