import type { HostNames } from "../routes/host-names.ts";
import type { PagesDeployment } from "./deployments.ts";
import type { ProjectDetails } from "./projects.ts";
import type { Environment } from "./schemas.ts";

type Presented = Readonly<Record<string, unknown>>;

/** Projects and deployments in the form that wrangler reads. Values of secrets are not in it. */
export class PagesPresentation {
  readonly #hostNames: HostNames;

  constructor(hostNames: HostNames) {
    this.#hostNames = hostNames;
  }

  project(project: ProjectDetails, latest: PagesDeployment | undefined): Presented {
    const { worker, productionBranch } = project;
    const { host } = new URL(this.#hostNames.urlOf(worker.name));
    return {
      id: worker.id,
      name: worker.name,
      subdomain: host,
      domains: [host],
      // No repository stands behind it.
      source: null,
      build_config: {},
      production_branch: productionBranch,
      created_on: worker.createdAt,
      deployment_configs: {
        production: presentEnvironment(project, "production"),
        preview: presentEnvironment(project, "preview"),
      },
      latest_deployment: latest === undefined ? null : this.deployment(latest),
    };
  }

  deployment({ project, stored, notes, isActive, alias }: PagesDeployment): Presented {
    const { version } = stored;
    const { name } = project.worker;
    const preview = (label: string): string =>
      `http://${label}${this.#hostNames.previewSuffix(name)}`;
    const label = version.id.slice(0, 8);
    const stage = {
      name: "deploy",
      status: "success",
      started_on: version.createdAt,
      ended_on: version.createdAt,
    };
    // wrangler shows an alias if its text ends like one of Cloudflare's, which a fragment does.
    const aliases = alias === undefined ? null : [`${preview(alias)}/#.pages.dev`];
    return {
      id: version.id,
      short_id: label,
      project_id: project.worker.id,
      project_name: name,
      environment: notes.environment,
      url: preview(label),
      aliases: isActive ? [this.#hostNames.urlOf(name)] : aliases,
      created_on: version.createdAt,
      modified_on: version.createdAt,
      production_branch: project.productionBranch,
      is_skipped: false,
      latest_stage: stage,
      stages: [stage],
      deployment_trigger: {
        type: "ad_hoc",
        metadata: {
          branch: notes.branch,
          commit_hash: notes.commitHash,
          commit_message: notes.commitMessage,
          commit_dirty: notes.isCommitDirty,
        },
      },
    };
  }
}

function presentEnvironment(project: ProjectDetails, environment: Environment): Presented {
  const { compatibilityDate, compatibilityFlags, variables } = project.environments[environment];
  const plain = Object.entries(variables).map(
    ([name, value]) => [name, { type: "plain_text", value }] as const,
  );
  const secret = project.secrets[environment].map(
    (name) => [name, { type: "secret_text", value: "" }] as const,
  );
  return {
    compatibility_date: compatibilityDate,
    compatibility_flags: compatibilityFlags,
    env_vars: Object.fromEntries<unknown>([...plain, ...secret]),
    fail_open: true,
    usage_model: "standard",
  };
}
