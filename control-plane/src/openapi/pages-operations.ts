import { z } from "zod";
import { VersionId } from "../contract/index.ts";
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
import { UPLOAD_ERRORS } from "./worker-operations.ts";

const PROJECTS = "/client/v4/accounts/:account/pages/projects";
const PROJECT = `${PROJECTS}/:worker`;
const ASSETS = "/client/v4/pages/assets";

const Stage = z.object({
  name: z.literal("deploy"),
  status: z.literal("success"),
  started_on: z.string(),
  ended_on: z.string(),
});

const PresentedDeployment = z.object({
  id: VersionId,
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
    type: z.literal("ad_hoc"),
    metadata: z.object({
      branch: z.string(),
      commit_hash: z.string(),
      commit_message: z.string(),
      commit_dirty: z.boolean(),
    }),
  }),
});

const PresentedEnvironment = z.object({
  compatibility_date: z.string(),
  compatibility_flags: z.array(z.string()),
  // Of a secret the value is empty.
  env_vars: z.record(
    z.string(),
    z.object({ type: z.enum(["plain_text", "secret_text"]), value: z.string() }),
  ),
  fail_open: z.literal(true),
  usage_model: z.literal("standard"),
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

const NOT_FOUND = ["pages_project_not_found"] as const;
const SETTINGS_ERRORS = ["invalid_binding", "invalid_compatibility"] as const;
const FILES_ERRORS = [
  "pages_token_invalid",
] as const satisfies ReadonlyArray<ControlPlaneErrorCode>;

/** Pages projects: each is a worker, each of their deployments a version. */
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
    errors: [
      ...SETTINGS_ERRORS,
      "pages_project_name_taken",
      "worker_name_taken",
      "workers_exceeded",
      "script_too_large",
      "route_conflict",
      "startup_failed",
      "preflight_unavailable",
      "conflict",
      "blobs_unavailable",
      "secret_unreadable",
    ],
  },
  [`GET ${PROJECT}`]: {
    summary: "A Pages project",
    answer: result(PresentedProject),
    errors: NOT_FOUND,
  },
  [`PATCH ${PROJECT}`]: {
    summary: "Changes settings, variables and secrets for the deployments to come",
    body: json(ProjectPatch),
    answer: result(PresentedProject),
    errors: [...NOT_FOUND, ...SETTINGS_ERRORS],
  },
  [`DELETE ${PROJECT}`]: {
    summary: "Deletes a Pages project with its deployments",
    answer: result(z.null()),
    errors: [...NOT_FOUND, "worker_not_found", "worker_in_use"],
  },
  [`GET ${PROJECT}/upload-token`]: {
    summary: "A token with which files of the project are uploaded",
    answer: result(z.object({ jwt: z.string() })),
    errors: NOT_FOUND,
  },
  [`GET ${PROJECT}/deployments`]: {
    summary: "Deployments of a project, the newest first",
    query: PageQuery,
    answer: result(z.array(PresentedDeployment)),
    errors: NOT_FOUND,
  },
  [`POST ${PROJECT}/deployments`]: {
    summary: "Deploys uploaded files, with the code beside them",
    body: {
      kind: "form",
      parts: { manifest: PagesManifest },
      files:
        "_worker.bundle, _routes.json, _headers and _redirects; branch, commit_hash, commit_message and commit_dirty as text",
    },
    answer: result(PresentedDeployment),
    errors: [
      ...NOT_FOUND,
      ...UPLOAD_ERRORS,
      "worker_not_found",
      "route_conflict",
      "asset_invalid",
      "assets_exceeded",
      "thread_died",
      "pages_deployment_not_found",
    ],
  },
  [`GET ${PROJECT}/deployments/:deployment`]: {
    summary: "A deployment",
    answer: result(PresentedDeployment),
    errors: [...NOT_FOUND, "pages_deployment_not_found"],
  },
  [`DELETE ${PROJECT}/deployments/:deployment`]: {
    summary: "Deletes a deployment that does not serve",
    query: z.object({ force: z.enum(["true", "false"]).optional() }),
    answer: result(z.null()),
    errors: [
      ...NOT_FOUND,
      "pages_deployment_not_found",
      "pages_deployment_active",
      "pages_deployment_aliased",
    ],
  },
  [`POST ${ASSETS}/check-missing`]: {
    summary: "Which of these files are to be uploaded",
    credential: "uploadToken",
    body: json(AnnouncedHashes),
    answer: result(z.array(z.string())),
    errors: FILES_ERRORS,
  },
  [`POST ${ASSETS}/upload`]: {
    summary: "Uploads files by their hash, in base64",
    credential: "uploadToken",
    body: json(PagesFiles),
    answer: result(z.null()),
    errors: [
      ...FILES_ERRORS,
      "asset_invalid",
      "assets_exceeded",
      "busy",
      "blobs_unavailable",
      "thread_died",
    ],
  },
  [`POST ${ASSETS}/upsert-hashes`]: {
    summary: "Says that these files are wanted: they stay for a day",
    credential: "uploadToken",
    body: json(AnnouncedHashes),
    answer: result(z.null()),
    errors: FILES_ERRORS,
  },
};
