import type { Clock } from "@atoll/kv-store";
import type { Facts } from "../audit/schemas.ts";
import type { WorkerName } from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import type { Mutations } from "../desired-state/mutations.ts";
import { ControlPlaneError } from "../errors.ts";
import type { Principal } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import type { Preflight } from "../preflight/preflight.ts";
import { parseCompatibilityDate, parseCompatibilityFlags } from "../versions/compatibility.ts";
import type { Publisher } from "../versions/publisher.ts";
import type { Target } from "../versions/service.ts";
import type { WorkersService } from "../workers/service.ts";
import { draftPlaceholder } from "./drafts.ts";
import {
  ENVIRONMENTS,
  type Environment,
  type EnvironmentPatch,
  type EnvironmentPatches,
  type EnvironmentSettings,
  type Environments,
  type ProjectPatch,
  type ProjectRequest,
  type StoredProject,
} from "./schemas.ts";
import { ProjectStore, type ProjectSecretStore } from "./store.ts";

/** A project with the names of its secrets. */
export interface ProjectDetails extends StoredProject {
  readonly secrets: Readonly<Record<Environment, ReadonlyArray<string>>>;
}

type SecretNames = Awaited<ReturnType<ProjectSecretStore["names"]>>;

export interface ProjectsServiceParts {
  readonly database: Database;
  readonly mutations: Mutations;
  readonly publisher: Publisher;
  readonly workers: WorkersService;
  readonly secrets: ProjectSecretStore;
  readonly preflight: Preflight;
  readonly clock: Clock;
}

/**
 * Pages projects. Each is a worker of the account, so its name, quota, host and end are the worker's; what makes it a
 * project is a row beside it. Until something is deployed it serves a placeholder.
 */
export class ProjectsService {
  readonly #parts: ProjectsServiceParts;
  readonly #projects = new ProjectStore();

  constructor(parts: ProjectsServiceParts) {
    this.#parts = parts;
  }

  /** Rejected with `pages_project_name_taken`, `worker_name_taken` or `workers_exceeded`. */
  async create(principal: Principal, request: ProjectRequest): Promise<ProjectDetails> {
    const { name, production_branch: productionBranch, deployment_configs: patches } = request;
    const environments = this.#patched(this.#newEnvironments(), patches);
    await this.#parts.publisher.publish({
      ...{ principal, name, trigger: "upload", isDeployed: true, isCreating: true },
      isOfProject: true,
      draft: async (base) => {
        if (base === undefined) return draftPlaceholder(environments.production);
        throw new ControlPlaneError(
          "pages_project_name_taken",
          `A project with the name '${name}' already exists: choose a different one`,
        );
      },
      alongside: async (mutation, { workerId }) => {
        const { transaction } = mutation;
        const project = { productionBranch, environments };
        await this.#projects.insert(transaction, { ...project, workerId });
        await this.#storeSecrets(transaction, workerId, patches);
        await this.#refuseTooMany(transaction, { ...project, workerId }, patches);
        const after = audited({ ...project }, patches);
        await mutation.audit({ action: "pages.create", subject: name, after });
      },
    });
    return this.get({ principal, name });
  }

  /** Rejected with `pages_project_not_found`. */
  async get(target: Target): Promise<ProjectDetails> {
    const project = await this.require(this.#parts.database, target);
    return withSecrets(project, await this.#secretNames([project]));
  }

  /** By name. */
  list({ account }: Principal): Promise<ReadonlyArray<StoredProject>> {
    return this.#projects.list(this.#parts.database, account);
  }

  /** Of a page of them. */
  async details(projects: ReadonlyArray<StoredProject>): Promise<ReadonlyArray<ProjectDetails>> {
    const names = await this.#secretNames(projects);
    return projects.map((project) => withSecrets(project, names));
  }

  /** Changes what the patch names, for the deployments to come. */
  async patch(target: Target, patch: ProjectPatch): Promise<ProjectDetails> {
    const { deployment_configs: patches } = patch;
    await this.#parts.mutations.run(target.principal, async (mutation) => {
      const project = await this.require(mutation.transaction, target);
      const changed = {
        ...project,
        productionBranch: patch.production_branch ?? project.productionBranch,
        environments: this.#patched(project.environments, patches),
      };
      await this.#projects.update(mutation.transaction, changed);
      const { id: workerId } = project.worker;
      await this.#storeSecrets(mutation.transaction, workerId, patches);
      await this.#refuseTooMany(mutation.transaction, { ...changed, workerId }, patches);
      await mutation.audit({
        action: "pages.change",
        subject: target.name,
        before: audited(project, undefined),
        after: audited(changed, patches),
      });
    });
    return this.get(target);
  }

  /** Removes it with its deployments. Rejected with `worker_in_use` while workers are bound to it. */
  async remove(target: Target): Promise<void> {
    await this.require(this.#parts.database, target);
    await this.#parts.workers.remove(target, { isForced: false });
  }

  /** Rejected with `pages_project_not_found`. */
  async require(database: Database | Transaction, target: Target): Promise<StoredProject> {
    const { principal, name } = target;
    const project = await this.#projects.find(database, { account: principal.account, name });
    if (project === undefined) throw projectNotFound(name);
    return project;
  }

  #secretNames(projects: ReadonlyArray<StoredProject>): Promise<SecretNames> {
    const workerIds = projects.map(({ worker }) => worker.id);
    return this.#parts.secrets.names(this.#parts.database, workerIds);
  }

  /** The day of its making, as on Cloudflare, or the newest date that cells know. */
  #newEnvironments(): Environments {
    const today = new Date(this.#parts.clock.nowMs()).toISOString().slice(0, 10);
    const { newestCompatibilityDate: newest } = this.#parts.preflight;
    const compatibilityDate = today < newest ? today : newest;
    const settings = { compatibilityDate, compatibilityFlags: [], variables: {} };
    return { production: settings, preview: settings };
  }

  #patched(environments: Environments, patches: EnvironmentPatches | undefined): Environments {
    const nowMs = this.#parts.clock.nowMs();
    const patched = (environment: Environment): EnvironmentSettings =>
      patchSettings(environments[environment], patches?.[environment], nowMs);
    return { production: patched("production"), preview: patched("preview") };
  }

  async #storeSecrets(
    transaction: Transaction,
    workerId: string,
    patches: EnvironmentPatches | undefined,
  ): Promise<void> {
    const { secrets } = this.#parts;
    for (const environment of ENVIRONMENTS) {
      for (const [name, variable] of Object.entries(patches?.[environment]?.env_vars ?? {})) {
        const place = { workerId, environment, name };
        if (variable?.type === "secret_text") {
          await secrets.put(transaction, { ...place, value: variable.value });
        } else await secrets.remove(transaction, place);
      }
    }
  }

  /** Each change is bounded, but there may be many. Who has too many may remove some. */
  async #refuseTooMany(
    transaction: Transaction,
    { workerId, environments }: { readonly workerId: string; readonly environments: Environments },
    patches: EnvironmentPatches | undefined,
  ): Promise<void> {
    const names = await this.#parts.secrets.names(transaction, [workerId]);
    for (const environment of ENVIRONMENTS) {
      const changes = Object.values(patches?.[environment]?.env_vars ?? {});
      if (changes.every((variable) => variable === null)) continue;
      const secrets = names.filter((row) => row.environment === environment);
      const count = secrets.length + Object.keys(environments[environment].variables).length;
      if (count <= LIMITS.bindingsMax) continue;
      throw new ControlPlaneError(
        "invalid_binding",
        `The project would have ${count} variables and secrets for ${environment}, and the limit is ${LIMITS.bindingsMax}: delete some first`,
      );
    }
  }
}

export function projectNotFound(name: WorkerName | string): ControlPlaneError {
  return new ControlPlaneError(
    "pages_project_not_found",
    `Project not found. The account has no Pages project named '${name.slice(0, 100)}'.`,
  );
}

function withSecrets(project: StoredProject, names: SecretNames): ProjectDetails {
  const own = names.filter(({ workerId }) => workerId === project.worker.id);
  const namesOf = (environment: Environment): ReadonlyArray<string> =>
    own.filter((row) => row.environment === environment).map(({ name }) => name);
  const secrets = { production: namesOf("production"), preview: namesOf("preview") };
  return { ...project, secrets };
}

function patchSettings(
  settings: EnvironmentSettings,
  patch: EnvironmentPatch | undefined,
  nowMs: number,
): EnvironmentSettings {
  if (patch === undefined) return settings;
  const { compatibility_date: date, compatibility_flags: flags, env_vars: patches = {} } = patch;
  const variables = new Map(Object.entries(settings.variables));
  for (const [name, variable] of Object.entries(patches)) {
    if (variable?.type === "plain_text") variables.set(name, variable.value);
    else variables.delete(name);
  }
  return {
    compatibilityDate:
      date === undefined ? settings.compatibilityDate : parseCompatibilityDate(date, nowMs),
    compatibilityFlags:
      flags === undefined ? settings.compatibilityFlags : parseCompatibilityFlags(flags),
    variables: Object.fromEntries(variables),
  };
}

/** Names alone: variables are no secrets, but people put some into them. */
function audited(
  { productionBranch, environments }: Omit<StoredProject, "worker">,
  patches: EnvironmentPatches | undefined,
): Facts {
  const rows = ENVIRONMENTS.map((environment) => {
    const { variables, ...settings } = environments[environment];
    const changed = Object.keys(patches?.[environment]?.env_vars ?? {});
    return [environment, { ...settings, variables: Object.keys(variables), changed }] as const;
  });
  return { productionBranch, ...Object.fromEntries(rows) };
}
