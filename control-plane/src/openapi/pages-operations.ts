import { z } from "zod";
import type { ControlPlaneErrorCode } from "../errors.ts";
import {
  AnnouncedHashes,
  Environment,
  PageQuery,
  PagesFiles,
  PagesManifest,
  ProjectPatch,
  ProjectRequest,
} from "../pages/schemas.ts";
import { json, result, type Operations } from "./operation.ts";
import { UPLOAD_ERRORS, VERSION_ERRORS } from "./version-errors.ts";

const PAGES = "/client/v4/pages/assets";
const PROJECTS = "/client/v4/accounts/:account/pages/projects";
const PROJECT = `${PROJECTS}/:worker`;
const DEPLOYMENTS = `${PROJECT}/deployments`;

const PresentedEnvironment = z.object({
  compatibility_date: z.string(),
  compatibility_flags: z.array(z.string()),
  env_vars: z.record(z.string(), z.object({ type: z.string(), value: z.string() })),
  fail_open: z.boolean(),
  usage_model: z.string(),
});

const Stage = z.object({
  name: z.string(),
  status: z.string(),
  started_on: z.string(),
  ended_on: z.string(),
});

const PresentedDeployment = z.object({
  id: z.string(),
  short_id: z.string(),
  project_id: z.string(),
  project_name: z.string(),
  environment: Environment,
  url: z.string(),
  aliases: z.array(z.string()).nullable(),
  created_on: z.string(),
  modified_on: z.string(),
  production_branch: z.string(),
  is_skipped: z.boolean(),
  latest_stage: Stage,
  stages: z.array(Stage),
  deployment_trigger: z.object({
    type: z.string(),
    metadata: z.object({
      branch: z.string(),
      commit_hash: z.string(),
      commit_message: z.string(),
      commit_dirty: z.boolean(),
    }),
  }),
});

const PresentedProject = z.object({
  id: z.string(),
  name: z.string(),
  subdomain: z.string(),
  domains: z.array(z.string()),
  source: z.null(),
  build_config: z.object({}),
  production_branch: z.string(),
  created_on: z.string(),
  deployment_configs: z.object({
    production: PresentedEnvironment,
    preview: PresentedEnvironment,
  }),
  latest_deployment: PresentedDeployment.nullable(),
});

const PROJECT_ERRORS = [
  "pages_project_not_found",
] as const satisfies ReadonlyArray<ControlPlaneErrorCode>;

const SETTINGS_ERRORS = [
  ...VERSION_ERRORS,
  "invalid_compatibility",
  "worker_in_use",
] as const satisfies ReadonlyArray<ControlPlaneErrorCode>;

const UPLOAD_TOKEN_ERRORS = [
  "pages_token_invalid",
  "asset_invalid",
  "assets_exceeded",
  "blobs_unavailable",
  "busy",
] as const satisfies ReadonlyArray<ControlPlaneErrorCode>;

/** Pages projects, which are workers, and their deployments. */
export const PAGES_OPERATIONS: Operations = {
  [`GET ${PROJECTS}`]: {
    summary: "The account's Pages projects",
    query: PageQuery,
    answer: result(z.array(PresentedProject)),
  },
  [`POST ${PROJECTS}`]: {
    summary: "Makes a Pages project",
    body: json(ProjectRequest),
    answer: result(PresentedProject),
    errors: [...SETTINGS_ERRORS, "pages_project_name_taken", "workers_exceeded", "route_conflict"],
  },
  [`GET ${PROJECT}`]: {
    summary: "A Pages project",
    answer: result(PresentedProject),
    errors: PROJECT_ERRORS,
  },
  [`PATCH ${PROJECT}`]: {
    summary: "Changes a Pages project: its production branch, variables and secrets",
    body: json(ProjectPatch),
    answer: result(PresentedProject),
    errors: [...PROJECT_ERRORS, ...SETTINGS_ERRORS],
  },
  [`DELETE ${PROJECT}`]: {
    summary: "Deletes a Pages project and all of its deployments",
    answer: result(z.null()),
    errors: [...PROJECT_ERRORS, "worker_in_use"],
  },
  [`GET ${PROJECT}/upload-token`]: {
    summary: "A token by which the files of a deployment are uploaded",
    answer: result(z.object({ jwt: z.string() })),
    errors: PROJECT_ERRORS,
  },
  [`GET ${DEPLOYMENTS}`]: {
    summary: "A Pages project's deployments, the newest first",
    query: PageQuery,
    answer: result(z.array(PresentedDeployment)),
    errors: PROJECT_ERRORS,
  },
  [`POST ${DEPLOYMENTS}`]: {
    summary: "Deploys files that were uploaded, and code",
    body: {
      kind: "form",
      parts: { manifest: PagesManifest },
      files:
        "`branch`, `commit_hash`, `commit_message`, `commit_dirty`, `_headers`, `_redirects`, `_routes.json` and `_worker.bundle`, as they are there",
    },
    answer: result(PresentedDeployment),
    errors: [...PROJECT_ERRORS, ...UPLOAD_ERRORS, "asset_invalid", "assets_exceeded"],
  },
  [`GET ${DEPLOYMENTS}/:deployment`]: {
    summary: "A deployment of a Pages project",
    answer: result(PresentedDeployment),
    errors: [...PROJECT_ERRORS, "pages_deployment_not_found"],
  },
  [`DELETE ${DEPLOYMENTS}/:deployment`]: {
    summary:
      "Deletes a deployment of a Pages project; one that a branch's host leads to by force alone",
    query: z.object({ force: z.enum(["true", "false"]).optional() }),
    answer: result(z.null()),
    errors: [
      ...PROJECT_ERRORS,
      "pages_deployment_not_found",
      "pages_deployment_active",
      "pages_deployment_aliased",
    ],
  },
  [`POST ${PAGES}/check-missing`]: {
    summary: "Which of these files are to be uploaded",
    credential: "uploadToken",
    body: json(AnnouncedHashes),
    answer: result(z.array(z.string())),
    errors: UPLOAD_TOKEN_ERRORS,
  },
  [`POST ${PAGES}/upload`]: {
    summary: "Uploads files by their hashes, in base64",
    credential: "uploadToken",
    body: json(PagesFiles),
    answer: result(z.null()),
    errors: UPLOAD_TOKEN_ERRORS,
  },
  [`POST ${PAGES}/upsert-hashes`]: {
    summary: "Says which files a deployment will name",
    credential: "uploadToken",
    body: json(AnnouncedHashes),
    answer: result(z.null()),
    errors: UPLOAD_TOKEN_ERRORS,
  },
};
