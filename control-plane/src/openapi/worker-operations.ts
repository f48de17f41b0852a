import { z } from "zod";
import { AssetSessionRequest } from "../assets/schemas.ts";
import { Binding, VersionId } from "../contract/index.ts";
import { DeploymentRequest } from "../deployments/schemas.ts";
import { ChangesetRequest, RecordsRequest } from "../domains/schemas.ts";
import type { ControlPlaneErrorCode } from "../errors.ts";
import { RouteRequests } from "../routes/schemas.ts";
import { SchedulesRequest } from "../schedules/schemas.ts";
import {
  LatestVersionPatch,
  SecretRequest,
  SecretsPatch,
  SettingsPatch,
} from "../secrets/schemas.ts";
import { TailRequest } from "../tails/schemas.ts";
import { BindingRequest } from "../versions/binding-requests.ts";
import { UploadMetadata } from "../versions/upload-metadata.ts";
import { ScriptSettingsPatch, SubdomainSwitch } from "../workers/schemas.ts";
import * as answers from "./answers.ts";
import { json, result, type Operations, type RequestBody } from "./operation.ts";

const WORKERS = "/client/v4/accounts/:account/workers";
const SCRIPT = `${WORKERS}/scripts/:worker`;
const FORCED = z.object({ force: z.enum(["true", "false"]).optional() });

const UPLOAD: RequestBody = {
  kind: "form",
  parts: { metadata: UploadMetadata.extend({ bindings: z.array(BindingRequest).optional() }) },
  files: "Modules, each under its name, with the content type that says what it is",
};

/** Ways in which a version that cannot be made, or started, is refused. */
const VERSION_ERRORS = [
  "worker_of_project",
  "invalid_binding",
  "unsupported_binding",
  "inherit_invalid",
  "namespace_not_found",
  "bound_service_not_found",
  "startup_failed",
  "preflight_unavailable",
  "conflict",
  "busy",
  "blobs_unavailable",
  "blob_corrupt",
  "secret_unreadable",
] as const satisfies ReadonlyArray<ControlPlaneErrorCode>;

/** Ways in which an upload is refused. */
export const UPLOAD_ERRORS = [
  ...VERSION_ERRORS,
  "invalid_multipart",
  "invalid_metadata",
  "invalid_module",
  "invalid_compatibility",
  "unsupported",
  "body_too_large",
  "script_too_large",
  "asset_session_invalid",
  "tail_consumer_invalid",
] as const satisfies ReadonlyArray<ControlPlaneErrorCode>;

const CHANGED_SECRETS = [
  ...VERSION_ERRORS,
  "worker_not_found",
  "secret_not_found",
  "version_not_deployed",
  "binding_name_taken",
] as const satisfies ReadonlyArray<ControlPlaneErrorCode>;

/** Workers, their versions, and everything that belongs to one. */
export const WORKER_OPERATIONS: Operations = {
  [`GET ${WORKERS}/services/:worker`]: {
    summary: "Whether there is such a worker",
    answer: result(answers.Service),
    errors: ["service_not_found"],
  },
  [`DELETE ${WORKERS}/services/:worker`]: {
    summary: "Deletes a worker",
    query: FORCED,
    answer: result(z.object({ id: z.string() })),
    errors: ["worker_not_found", "worker_in_use"],
  },
  [`GET ${WORKERS}/scripts`]: {
    summary: "The account's workers",
    answer: result(z.array(answers.Script)),
  },
  [`PUT ${SCRIPT}`]: {
    summary:
      "Uploads a worker's next version and deploys it, and makes the worker where there is none",
    body: UPLOAD,
    answer: result(answers.Deployed),
    errors: [...UPLOAD_ERRORS, "worker_name_taken", "workers_exceeded", "route_conflict"],
  },
  [`DELETE ${SCRIPT}`]: {
    summary: "Deletes a worker",
    query: FORCED,
    answer: result(z.object({ id: z.string() })),
    errors: ["worker_not_found", "worker_in_use"],
  },
  [`GET ${SCRIPT}/settings`]: {
    summary: "Settings of a worker and of its newest version",
    answer: result(answers.Settings),
    errors: ["worker_not_found"],
  },
  [`PATCH ${SCRIPT}/settings`]: {
    summary:
      "Replaces the bindings of a worker; those that name only type and name stay as they are",
    body: { kind: "form", parts: { settings: SettingsPatch } },
    answer: result(z.object({ bindings: z.array(Binding) })),
    errors: [...CHANGED_SECRETS, "invalid_multipart"],
  },
  [`GET ${SCRIPT}/script-settings`]: {
    summary: "Settings of a worker that belong to no version",
    answer: result(answers.PresentedSettings),
    errors: ["worker_not_found"],
  },
  [`PATCH ${SCRIPT}/script-settings`]: {
    summary: "Changes settings of a worker that belong to no version",
    body: json(ScriptSettingsPatch),
    answer: result(answers.PresentedSettings),
    errors: ["worker_not_found", "unsupported", "tail_consumer_invalid"],
  },
  [`GET ${SCRIPT}/references`]: {
    summary: "Workers that call this one",
    answer: result(answers.References),
    errors: ["worker_not_found"],
  },
  [`GET ${WORKERS}/tails/by-consumer/:worker`]: {
    summary: "Workers whose events this one hears",
    answer: result(answers.TailPairs),
  },
  [`GET ${WORKERS}/durable_objects/namespaces`]: {
    summary: "Namespaces of Durable Objects: there are none",
    answer: result(z.array(z.unknown())),
  },
  [`GET ${WORKERS}/subdomain`]: {
    summary: "The domain that every worker has a host below",
    answer: result(z.object({ subdomain: z.string() })),
  },
  [`GET ${SCRIPT}/subdomain`]: {
    summary: "Whether a worker has a host of its own, and previews",
    answer: result(SubdomainSwitch.required()),
    errors: ["worker_not_found"],
  },
  [`POST ${SCRIPT}/subdomain`]: {
    summary: "Gives a worker a host of its own and previews, or takes them away",
    body: json(SubdomainSwitch),
    answer: result(SubdomainSwitch.required()),
    errors: ["worker_not_found", "route_conflict"],
  },
  [`GET ${WORKERS}/workers/:worker`]: {
    summary: "A worker and where its host is",
    answer: result(
      answers.NamedThing.extend({
        subdomain: SubdomainSwitch.required().extend({
          url: z.string(),
          preview_url_suffix: z.string(),
        }),
      }),
    ),
    errors: ["worker_not_found"],
  },
  [`POST ${SCRIPT}/versions`]: {
    summary: "Uploads a worker's next version without deploying it",
    body: UPLOAD,
    answer: result(answers.PresentedVersion),
    errors: [
      ...UPLOAD_ERRORS,
      ...(["worker_not_found", "worker_name_taken", "workers_exceeded", "route_conflict"] as const),
    ],
  },
  [`GET ${SCRIPT}/versions`]: {
    summary: "A worker's newest versions",
    answer: result(z.object({ items: z.array(answers.PresentedVersion) })),
    errors: ["worker_not_found"],
  },
  [`GET ${SCRIPT}/versions/:version`]: {
    summary: "A version, by its id or as `latest`",
    answer: result(answers.PresentedVersion),
    errors: ["worker_not_found", "version_not_found"],
  },
  [`GET ${SCRIPT}/content/v2`]: {
    summary: "The files of a version, as they were uploaded",
    query: z.object({ version: z.union([VersionId, z.literal("latest")]).optional() }),
    answer: { kind: "content", type: "multipart/form-data" },
    errors: ["worker_not_found", "version_not_found", "blobs_unavailable", "blob_corrupt"],
  },
  [`GET ${SCRIPT}/deployments`]: {
    summary: "A worker's newest deployments",
    answer: result(z.object({ deployments: z.array(answers.PresentedDeployment) })),
    errors: ["worker_not_found"],
  },
  [`POST ${SCRIPT}/deployments`]: {
    summary: "Decides which versions of a worker serve",
    query: FORCED,
    body: json(DeploymentRequest),
    answer: result(answers.PresentedDeployment),
    errors: [
      "worker_not_found",
      "version_not_found",
      "deployment_invalid",
      "secrets_changed",
      "secret_unreadable",
      "namespace_not_found",
      "bound_service_not_found",
    ],
  },
  [`GET ${SCRIPT}/secrets`]: {
    summary: "Names of a worker's secrets",
    answer: result(z.array(answers.PresentedSecret)),
    errors: ["worker_not_found"],
  },
  [`PUT ${SCRIPT}/secrets`]: {
    summary: "Sets a secret, and deploys the version that has it",
    body: json(SecretRequest),
    answer: result(answers.PresentedSecret),
    errors: CHANGED_SECRETS,
  },
  [`DELETE ${SCRIPT}/secrets/:secret`]: {
    summary: "Deletes a secret, and deploys the version without it",
    answer: result(z.null()),
    errors: CHANGED_SECRETS,
  },
  [`PATCH ${SCRIPT}/secrets-bulk`]: {
    summary: "Sets and deletes secrets, and deploys the version that results",
    body: json(SecretsPatch),
    answer: result(z.object({})),
    errors: CHANGED_SECRETS,
  },
  [`PATCH ${WORKERS}/workers/:worker/versions/latest`]: {
    summary: "Makes a version from the newest one with other secrets, without deploying it",
    body: json(LatestVersionPatch),
    answer: result(z.object({ id: VersionId, number: z.int() })),
    errors: CHANGED_SECRETS,
  },
  [`POST ${SCRIPT}/assets-upload-session`]: {
    summary:
      "Announces static files; answers which of them are to be uploaded, and a token for that",
    body: json(AssetSessionRequest),
    answer: result(z.object({ jwt: z.string(), buckets: z.array(z.array(z.string())) })),
    errors: ["asset_invalid", "assets_exceeded", "blobs_unavailable"],
  },
  [`POST ${WORKERS}/assets/upload`]: {
    summary: "Uploads static files, each as a part named by its hash, in base64",
    credential: "uploadToken",
    query: z.object({ base64: z.literal("true") }),
    body: { kind: "form", parts: {}, files: "Files by their hash, in base64" },
    answer: result(z.object({ jwt: z.string().optional() }), 202),
    errors: [
      "asset_session_invalid",
      "account_forbidden",
      "asset_invalid",
      "invalid_body",
      "invalid_multipart",
      "body_too_large",
      "busy",
      "blobs_unavailable",
      "thread_died",
    ],
  },
  [`PUT ${SCRIPT}/routes`]: {
    summary: "Replaces a worker's routes",
    body: json(RouteRequests),
    answer: result(RouteRequests),
    errors: ["worker_not_found", "route_invalid", "route_conflict", "domain_unproved"],
  },
  [`POST ${SCRIPT}/domains/changeset`]: {
    summary: "What would change if these were the worker's custom domains",
    body: json(ChangesetRequest),
    answer: result(answers.DomainChangeset),
    errors: ["route_invalid"],
  },
  [`PUT ${SCRIPT}/domains/records`]: {
    summary: "Replaces a worker's custom domains",
    body: json(RecordsRequest),
    answer: result(z.array(z.object({ hostname: z.string() }))),
    errors: ["worker_not_found", "route_invalid", "route_conflict", "domain_unproved"],
  },
  [`GET ${WORKERS}/domains/records`]: {
    summary: "The account's custom domains",
    answer: result(z.array(answers.Domain)),
  },
  [`GET ${WORKERS}/domains/records/:id`]: {
    summary: "A custom domain",
    answer: result(answers.Domain),
    errors: ["not_found"],
  },
  [`GET ${SCRIPT}/schedules`]: {
    summary: "A worker's schedules",
    answer: result(answers.PresentedSchedules),
    errors: ["worker_not_found"],
  },
  [`PUT ${SCRIPT}/schedules`]: {
    summary: "Replaces a worker's schedules",
    body: json(SchedulesRequest),
    answer: result(answers.PresentedSchedules),
    errors: ["worker_not_found", "cron_invalid", "schedules_exceeded"],
  },
  [`GET ${SCRIPT}/tails`]: {
    summary: "Open tails of a worker",
    answer: result(z.array(answers.PresentedTail)),
    errors: ["worker_not_found"],
  },
  [`POST ${SCRIPT}/tails`]: {
    summary: "Opens a tail, whose events are told over a WebSocket at `url`",
    body: json(TailRequest),
    answer: result(answers.PresentedTail.extend({ url: z.string() })),
    errors: ["worker_not_found", "tails_exceeded"],
  },
  [`DELETE ${SCRIPT}/tails/:tail`]: {
    summary: "Ends a tail",
    answer: result(z.null()),
    errors: ["worker_not_found"],
  },
};
