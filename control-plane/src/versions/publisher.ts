import { randomUUID } from "node:crypto";
import type { Clock } from "@atoll/kv-store";
import { refuseScript, refuseWorker, versionsKept } from "../accounts/quota.ts";
import { AccountStore } from "../accounts/store.ts";
import type { Facts } from "../audit/schemas.ts";
import { HashedContent } from "../blobs/blob-hash.ts";
import type { BlobStore } from "../blobs/blob-store.ts";
import {
  BlobHash,
  codeBytes,
  VersionId,
  type SecretValues,
  type Version,
  type WorkerName,
} from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import { DeploymentStore } from "../deployments/store.ts";
import type { Mutation, Mutations } from "../desired-state/mutations.ts";
import { ControlPlaneError } from "../errors.ts";
import type { Principal } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import { ProjectStore } from "../pages/store.ts";
import type { Preflight, PreflightCandidate } from "../preflight/preflight.ts";
import { checkOwnHost } from "../routes/conflicts.ts";
import type { HostNames } from "../routes/host-names.ts";
import { RouteStore } from "../routes/store.ts";
import type { ScriptSettings, StoredWorker } from "../workers/schemas.ts";
import { WorkerStore } from "../workers/store.ts";
import { checkTailConsumers, refuseNewConsumers } from "../workers/tail-consumers.ts";
import { AwaitedServices } from "./awaited-services.ts";
import { checkBindings, refuseTooManyBindings } from "./bindings.ts";
import { refuseNewReach } from "./scoped-bindings.ts";
import { KeyedLock } from "./keyed-lock.ts";
import type { Annotations, PagesNotes, SourceMap, StoredVersion, Trigger } from "./schemas.ts";
import { PreviewHosts } from "./preview-hosts.ts";
import type { VersionStore } from "./store.ts";

/** What a new version starts from. */
export interface VersionBase {
  readonly worker: StoredWorker;
  /** The newest version; a worker has at least one. */
  readonly latest: StoredVersion;
  readonly secrets: SecretValues;
}

/** A version that is complete but for its id, number and time. */
export interface VersionDraft {
  readonly version: Omit<Version, "id" | "number" | "createdAt">;
  readonly secrets: SecretValues;
  readonly sourceMaps: ReadonlyArray<SourceMap>;
  readonly annotations: Annotations;
  /** Content of blobs that the version names and that may not be stored yet. */
  readonly contents: ReadonlyMap<BlobHash, Uint8Array>;
  /** Settings of the worker that come with an upload. */
  readonly settings?: ScriptSettings;
  /** Of a deployment of a Pages project. */
  readonly pages?: PagesNotes;
}

/** What a draft was recorded for, and made from. */
interface RecordedDraft {
  readonly workerId: string;
  readonly base: VersionBase | undefined;
}

export interface Publication {
  readonly principal: Principal;
  readonly name: WorkerName;
  readonly trigger: Trigger;
  /** Whether the version serves all requests from now on. */
  readonly isDeployed: boolean;
  /** Whether a worker that does not exist is made. */
  readonly isCreating: boolean;
  /**
   * Must change nothing, because the version may still be refused, and may be called again with another base.
   * `base` is absent for a new worker.
   */
  readonly draft: (base: VersionBase | undefined) => Promise<VersionDraft>;
  /** Whether a Pages project publishes: it alone may publish its worker, and no other one. */
  readonly isOfProject?: boolean;
  /** Runs in the transaction that records the version, before it is deployed. */
  readonly alongside?: (mutation: Mutation, recorded: RecordedDraft) => Promise<void>;
}

export interface PublisherParts {
  readonly database: Database;
  readonly mutations: Mutations;
  readonly versions: VersionStore;
  readonly blobs: BlobStore;
  readonly preflight: Preflight;
  readonly hostNames: HostNames;
  readonly clock: Clock;
}

/** What starting a draft takes besides. */
type StartedDraft = Pick<VersionDraft, "secrets" | "contents"> &
  Pick<PreflightCandidate, "account" | "settings">;

/**
 * The one way in which a version comes to be: drafted from the newest one, checked, started once, and
 * only then recorded, together with its deployment. Until it is recorded nothing that anybody sees has
 * changed. Publications of one worker happen one after the other.
 */
export class Publisher {
  readonly #parts: PublisherParts;
  readonly #lock = new KeyedLock();
  readonly #awaited = new AwaitedServices();
  readonly #workers = new WorkerStore();
  readonly #deployments = new DeploymentStore();
  readonly #accounts = new AccountStore();
  readonly #routes = new RouteStore();
  readonly #projects = new ProjectStore();
  readonly #previewHosts: PreviewHosts;

  constructor(parts: PublisherParts) {
    this.#parts = parts;
    this.#previewHosts = new PreviewHosts(parts);
  }

  /** Rejected with the first rule that the draft breaks, or `startup_failed`; then nothing changed. */
  async publish(publication: Publication): Promise<StoredVersion> {
    const { principal, name } = publication;
    return this.#lock.run(`${principal.account}/${name}`, () => this.#publishAgain(publication));
  }

  /** Another control plane has no part in the lock: what it published meanwhile is the next base. */
  async #publishAgain(publication: Publication): Promise<StoredVersion> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#publish(publication);
      } catch (error) {
        const isLast = attempt >= LIMITS.publicationAttemptsMax;
        if (isLast || !(error instanceof Overtaken)) throw error;
      }
    }
  }

  async #publish(publication: Publication): Promise<StoredVersion> {
    const { principal, name } = publication;
    const base = await this.#readBase(publication);
    const draft = await publication.draft(base);
    const { database } = this.#parts;
    const { code, assets, bindings } = draft.version;
    if (code.kind === "none" && assets === undefined) {
      throw new ControlPlaneError("invalid_module", "The upload has neither modules nor assets");
    }
    refuseTooManyBindings(bindings, base?.latest.version.bindings);
    const awaited = this.#awaited;
    const scope = { account: principal.account, worker: name, database, awaited };
    await checkBindings({ ...scope, bindings, code, assets });
    const { settings, quota } = await this.#accounts.configured(database, principal.account);
    // What is there already stays usable under a quota that became smaller.
    if (publication.trigger === "upload") refuseScript(quota, codeBytes(code));
    refuseNewReach(principal, bindings, base?.latest.version.bindings ?? []);
    const version: Version = {
      ...draft.version,
      id: VersionId.parse(randomUUID()),
      number: (base?.worker.versionNumber ?? 0) + 1,
      createdAt: new Date(this.#parts.clock.nowMs()).toISOString(),
    };
    const startupMs = await this.#start(version, {
      ...draft,
      account: principal.account,
      settings,
    });
    // Blobs before the rows that name them: a row never points at nothing. What is left over when the
    // rows then fail is content without a name, which the next upload of the same content uses.
    const contents = [...draft.contents.values()].map((content) => HashedContent.of(content));
    await this.#parts.blobs.putAll([contents]);
    const notes = {
      annotations: { ...draft.annotations, "workers/triggered_by": publication.trigger },
      startupMs,
      sourceMaps: [...draft.sourceMaps],
      tokenId: principal.tokenId,
      ...(draft.pages === undefined ? {} : { pages: draft.pages }),
    };
    const added = { version, notes };
    await this.#parts.mutations.run(principal, (mutation) =>
      this.#record(mutation, { publication, base, draft, added }),
    );
    return added;
  }

  async #readBase(publication: Publication): Promise<VersionBase | undefined> {
    const { principal, name, isCreating } = publication;
    const { database, versions } = this.#parts;
    const worker = await this.#workers.find(database, { account: principal.account, name });
    if (worker !== undefined) {
      await this.#refuseOtherKind(worker, publication);
      const latest = await versions.latest(database, worker.id);
      // Somebody has removed it since it was found.
      if (latest === undefined) throw new Overtaken("conflict", changedText(name));
      const secrets = await versions.openSecrets(database, worker.id, latest.version.id);
      return { worker, latest, secrets };
    }
    if (!isCreating) throw workerNotFound(name);
    await this.#refuseNewWorker(database, { principal, name });
    return undefined;
  }

  /** Whoever publishes with the other tool would replace what is there with something of another kind. */
  async #refuseOtherKind({ id, name }: StoredWorker, publication: Publication): Promise<void> {
    const isProject = await this.#projects.has(this.#parts.database, id);
    if (isProject === (publication.isOfProject ?? false)) return;
    if (isProject) {
      throw new ControlPlaneError(
        "worker_of_project",
        `'${name}' is a Pages project: deploy it with 'wrangler pages deploy', set its secrets with 'wrangler pages secret', or choose another name`,
      );
    }
    throw new ControlPlaneError(
      "pages_project_name_taken",
      `The account has a worker named '${name}': choose another name for the project`,
    );
  }

  async #start(version: Version, draft: StartedDraft): Promise<number> {
    const result = await this.#check(version, draft);
    if (result.kind === "started") return result.startupMs;
    throw new ControlPlaneError("startup_failed", result.message);
  }

  async #check(version: Version, draft: StartedDraft) {
    const { preflight, blobs } = this.#parts;
    const readBlob = async (hash: string): Promise<Uint8Array> => {
      const wanted = BlobHash.parse(hash);
      const content = draft.contents.get(wanted) ?? (await blobs.get(wanted));
      if (content === undefined) throw new Error(`blob ${hash} of a version is missing`);
      return content;
    };
    try {
      const { account, secrets, settings } = draft;
      return await preflight.check({ account, version, secrets, settings, readBlob });
    } catch (cause) {
      throw new ControlPlaneError(
        "preflight_unavailable",
        "The check that the worker starts could not be made: try again, and see the control plane's log",
        { cause },
      );
    }
  }

  async #record(
    mutation: Mutation,
    recorded: {
      readonly publication: Publication;
      readonly base: VersionBase | undefined;
      readonly draft: VersionDraft;
      readonly added: StoredVersion;
    },
  ): Promise<void> {
    const { transaction, now } = mutation;
    const { publication, base, draft, added } = recorded;
    const { principal, name, trigger } = publication;
    const current = await this.#workers.find(transaction, { account: principal.account, name });
    if (current?.id !== base?.worker.id || current?.versionNumber !== base?.worker.versionNumber) {
      const message = changedText(name);
      const isDeleted = base !== undefined && current?.id !== base.worker.id;
      // What somebody deleted is not brought back.
      if (isDeleted) throw new ControlPlaneError("conflict", message);
      throw new Overtaken("conflict", message);
    }
    // What it binds may have been deleted while it was being started.
    const awaited = this.#awaited;
    const scope = { account: principal.account, worker: name, database: transaction, awaited };
    await checkBindings({ ...scope, ...added.version, assets: added.version.assets });
    const worker = {
      ...(current ?? newWorker({ publication, now })),
      modifiedAt: now,
      versionNumber: added.version.number,
    };
    // A version that nobody is served yet does not change who hears of those that serve.
    const { tail_consumers: consumers, ...others } = draft.settings ?? {};
    const isHeard = publication.isDeployed && consumers !== undefined;
    const heard = isHeard ? { tail_consumers: consumers } : {};
    const settled = { ...worker, settings: { ...worker.settings, ...others, ...heard } };
    if (isHeard) {
      const { settings: wanted } = settled;
      refuseNewConsumers(principal, { wanted, earlier: worker.settings });
      await checkTailConsumers(transaction, settled);
    }
    if (current === undefined) {
      // Another account may have taken its name or host while it was being started.
      await this.#refuseNewWorker(transaction, { principal, name });
      await this.#workers.insert(transaction, settled);
    } else await this.#workers.update(transaction, settled);
    const alias = added.notes.annotations["workers/alias"];
    if (alias !== undefined) {
      const { account } = principal;
      await this.#previewHosts.requireFree(transaction, { account, worker: name, alias });
    }
    await this.#parts.versions.insert(transaction, {
      ...added,
      workerId: worker.id,
      secrets: draft.secrets,
    });
    await publication.alongside?.(mutation, { workerId: worker.id, base });
    if (publication.isDeployed) {
      await this.#deployments.append(transaction, {
        workerId: worker.id,
        createdAt: now,
        versions: [{ version_id: added.version.id, percentage: 100 }],
        annotations: added.notes.annotations,
      });
      await mutation.changed(name);
    }
    await this.#prune(transaction, worker);
    const after = { ...auditedVersion(added.version), trigger, isDeployed: publication.isDeployed };
    const earlier = base === undefined ? {} : { before: auditedVersion(base.latest.version) };
    await mutation.audit({ action: "version.create", subject: name, ...earlier, after });
  }

  /** Refuses one that is over the account's quota, or whose name or host another account has. */
  async #refuseNewWorker(
    database: Database | Transaction,
    { principal, name }: Pick<Publication, "principal" | "name">,
  ): Promise<void> {
    await this.#refuseTooMany(database, principal);
    const { hostNames } = this.#parts;
    const host = hostNames.hostOf(name);
    if ((await this.#workers.ownerOf(database, name)) !== undefined) {
      throw new ControlPlaneError(
        "worker_name_taken",
        `The name '${name}' is taken: ${host} belongs to another account`,
      );
    }
    const routes = await this.#routes.listNear(database, [host]);
    checkOwnHost(host, routes, principal.account);
    await this.#previewHosts.requireNoPreview(database, { account: principal.account, name });
  }

  async #refuseTooMany(database: Database | Transaction, { account }: Principal): Promise<void> {
    const { quota } = await this.#accounts.configured(database, account);
    if (quota.workersMax === null) return;
    refuseWorker(quota, (await this.#workers.list(database, account)).length);
  }

  /** Versions that deployments name stay: wrangler lists them together. */
  async #prune(transaction: Transaction, worker: StoredWorker): Promise<void> {
    const { quota } = await this.#accounts.configured(transaction, worker.account);
    const keptMax = versionsKept(quota);
    const numberMax = worker.versionNumber - keptMax;
    if (numberMax < 1) return;
    const limit = Math.min(keptMax, LIMITS.deploymentsKeptMax);
    await this.#deployments.prune(transaction, worker.id, limit);
    const deployments = await this.#deployments.list(transaction, { workerId: worker.id, limit });
    const keptIds = deployments.flatMap(({ versions }) => versions.map((row) => row.version_id));
    await this.#parts.versions.prune(transaction, { workerId: worker.id, numberMax, keptIds });
  }
}

/** Another control plane has published the same worker since the draft was begun, or somebody has removed it. */
class Overtaken extends ControlPlaneError {}

function changedText(name: WorkerName): string {
  return `The worker '${name}' was changed meanwhile: try again`;
}

/** Names alone: variables are no secrets, but people put some into them. */
function auditedVersion({ id, number, bindings, assets }: Version): Facts {
  const names = bindings.map(({ type, name }) => `${type} ${name}`);
  return { version: id, number, bindings: names, hasAssets: assets !== undefined };
}

function newWorker(parts: {
  readonly publication: Publication;
  readonly now: string;
}): StoredWorker {
  const { publication, now } = parts;
  return {
    id: randomUUID().replaceAll("-", ""),
    account: publication.principal.account,
    name: publication.name,
    createdAt: now,
    modifiedAt: now,
    isOnSubdomain: true,
    hasPreviews: true,
    settings: {},
    versionNumber: 0,
  };
}

export function workerNotFound(name: string): ControlPlaneError {
  return new ControlPlaneError(
    "worker_not_found",
    `This Worker does not exist on your account: '${name}'`,
  );
}
