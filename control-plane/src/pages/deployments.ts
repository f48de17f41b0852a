import type { Clock } from "@atoll/kv-store";
import type { PreviewLabel, VersionId } from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import type { Deployment } from "../deployments/schemas.ts";
import { DeploymentStore } from "../deployments/store.ts";
import type { Mutations } from "../desired-state/mutations.ts";
import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Publisher } from "../versions/publisher.ts";
import type { PagesNotes, StoredVersion } from "../versions/schemas.ts";
import type { Target } from "../versions/service.ts";
import type { VersionStore } from "../versions/store.ts";
import type { PagesAssets } from "./assets.ts";
import { branchAlias } from "./branch-alias.ts";
import type { DeploymentForm } from "./deployment-form.ts";
import { draftDeployment } from "./drafts.ts";
import type { ProjectsService } from "./projects.ts";
import type { Environment, StoredProject } from "./schemas.ts";
import type { ProjectSecretStore } from "./store.ts";

/** A version that is a deployment of a project. */
export interface PagesDeployment {
  readonly project: StoredProject;
  readonly stored: StoredVersion;
  readonly notes: PagesNotes;
  /** Whether it serves the project's host. */
  readonly isActive: boolean;
  /** What the host of its branch begins with, if that leads to this one. */
  readonly alias: PreviewLabel | undefined;
}

export interface PagesDeploymentsParts {
  readonly database: Database;
  readonly mutations: Mutations;
  readonly versions: VersionStore;
  readonly publisher: Publisher;
  readonly assets: PagesAssets;
  readonly projects: ProjectsService;
  readonly secrets: ProjectSecretStore;
  readonly clock: Clock;
}

/**
 * Deployments of Pages projects. Each is a version of the project's worker: one of the production branch is deployed,
 * one of another branch is a preview with the branch as its alias.
 */
export class PagesDeployments {
  readonly #parts: PagesDeploymentsParts;
  readonly #deployments = new DeploymentStore();

  constructor(parts: PagesDeploymentsParts) {
    this.#parts = parts;
  }

  /** Rejected as an upload of a worker is, and with `pages_project_not_found`. */
  async create(target: Target, form: DeploymentForm): Promise<PagesDeployment> {
    const { database, projects, assets, publisher, secrets, clock } = this.#parts;
    const project = await projects.require(database, target);
    const branch = form.branch ?? project.productionBranch;
    const environment: Environment = branch === project.productionBranch ? "production" : "preview";
    const isDeployed = environment === "production";
    const place = { account: target.principal.account, project: target.name };
    const manifest = await assets.writeManifest(place, form.manifest);
    const { id: workerId } = project.worker;
    const parts = {
      ...{ form, environment, branch, manifest, nowMs: clock.nowMs() },
      alias: isDeployed ? undefined : branchAlias(branch, target.name),
      settings: project.environments[environment],
      secrets: await secrets.open(database, { workerId, environment }),
    };
    const { version } = await publisher.publish({
      ...target,
      ...{ trigger: "upload", isDeployed, isCreating: false, isOfProject: true },
      draft: (base) => draftDeployment(parts, base),
    });
    return this.get(target, version.id);
  }

  /** The newest first. */
  async list(
    target: Target,
    environment: Environment | undefined,
  ): Promise<ReadonlyArray<PagesDeployment>> {
    const all = await this.#read(this.#parts.database, target);
    return environment === undefined
      ? all
      : all.filter(({ notes }) => notes.environment === environment);
  }

  /** The newest of each of some projects, by the id of its worker. */
  async latest(
    projects: ReadonlyArray<StoredProject>,
  ): Promise<ReadonlyMap<string, PagesDeployment>> {
    const { database, versions } = this.#parts;
    const workerIds = projects.map(({ worker }) => worker.id);
    const newest = await versions.newestOf(database, workerIds);
    const active = await this.#deployments.activeOf(database, workerIds);
    const found = projects.flatMap((project) => {
      const { id } = project.worker;
      const stored = newest.get(id);
      // One that is no deployment is the placeholder, and the only version.
      return stored === undefined ? [] : deploymentsAmong([stored], project, active.get(id));
    });
    return new Map(found.map((deployment) => [deployment.project.worker.id, deployment]));
  }

  /** Rejected with `pages_deployment_not_found`. */
  async get(target: Target, id: string): Promise<PagesDeployment> {
    return findDeployment(await this.#read(this.#parts.database, target), id);
  }

  /**
   * Removes one. Rejected with `pages_deployment_active` for the one that serves the project's host, and without force
   * with `pages_deployment_aliased` for one that a branch's host leads to.
   */
  async remove(target: Target, id: string, options: { readonly isForced: boolean }): Promise<void> {
    await this.#parts.mutations.run(target.principal, async (mutation) => {
      const { transaction } = mutation;
      const found = findDeployment(await this.#read(transaction, target), id);
      const { project, stored, notes, isActive, alias } = found;
      if (isActive) {
        throw new ControlPlaneError(
          "pages_deployment_active",
          "You cannot delete the active production deployment: deploy another one first",
        );
      }
      if (alias !== undefined && !options.isForced) {
        throw new ControlPlaneError(
          "pages_deployment_aliased",
          "You cannot delete an aliased deployment without a `?force=true` parameter in the API request URL.",
        );
      }
      const versionId = stored.version.id;
      const { id: workerId } = project.worker;
      await this.#deployments.removeNaming(transaction, { workerId, versionId });
      await this.#parts.versions.remove(transaction, versionId);
      const before = { version: versionId, environment: notes.environment, branch: notes.branch };
      await mutation.audit({ action: "pages.deployment.delete", subject: target.name, before });
    });
  }

  async #read(
    database: Database | Transaction,
    target: Target,
  ): Promise<ReadonlyArray<PagesDeployment>> {
    const project = await this.#parts.projects.require(database, target);
    const { id: workerId } = project.worker;
    // Those that serve, or served, are kept beside the newest.
    const limit = LIMITS.versionsKeptMax + LIMITS.deploymentsKeptMax;
    const versions = await this.#parts.versions.list(database, { workerId, limit });
    const active = await this.#deployments.active(database, workerId);
    return deploymentsAmong(versions, project, active);
  }
}

/** Those of a project's newest versions, the newest first, that are deployments of it. */
function deploymentsAmong(
  versions: ReadonlyArray<StoredVersion>,
  project: StoredProject,
  active: Deployment | undefined,
): ReadonlyArray<PagesDeployment> {
  const serving = new Set<VersionId>(active?.versions.map((row) => row.version_id));
  const aliases = new Set<string>();
  return versions.flatMap((stored) => {
    const { pages: notes, annotations } = stored.notes;
    if (notes === undefined) return [];
    const alias = annotations["workers/alias"];
    // An alias leads to the newest one that has it.
    const leadsHere = alias !== undefined && !aliases.has(alias);
    if (alias !== undefined) aliases.add(alias);
    const isActive = serving.has(stored.version.id);
    return [{ project, stored, notes, isActive, alias: leadsHere ? alias : undefined }];
  });
}

function findDeployment(deployments: ReadonlyArray<PagesDeployment>, id: string): PagesDeployment {
  const found = deployments.find(({ stored }) => stored.version.id === id);
  if (found !== undefined) return found;
  throw new ControlPlaneError(
    "pages_deployment_not_found",
    `The project has no deployment '${id.slice(0, 100)}'`,
  );
}
