import { z } from "zod";
import { AssetHash, manifestOf } from "../assets/schemas.ts";
import { type AssetRoutes, WorkerName } from "../contract/index.ts";
import { LIMITS } from "../limits.ts";
import { BindingName, BindingText } from "../versions/binding-requests.ts";
import type { StoredWorker } from "../workers/schemas.ts";

/** What a deployment is for: the project's own host, or a look at a branch. */
export const ENVIRONMENTS = ["production", "preview"] as const;
export const Environment = z.enum(ENVIRONMENTS);
export type Environment = z.infer<typeof Environment>;

/** Shorter than a worker's, because `<8 digits>-<project>` is a DNS label as well. */
const ProjectName = z
  .string()
  .max(LIMITS.pagesNameCharactersMax)
  .regex(
    /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/,
    "a project's name holds a-z, 0-9 and '-', and starts and ends with a letter or digit",
  )
  .pipe(WorkerName);

const Branch = z.string().min(1).max(LIMITS.pagesBranchCharactersMax);

/** What the deployments of one environment have in common, but for secrets. */
export const EnvironmentSettings = z.object({
  compatibilityDate: z.string(),
  compatibilityFlags: z.array(z.string()),
  variables: z.record(z.string(), z.string()),
});
export type EnvironmentSettings = z.infer<typeof EnvironmentSettings>;

/** As it is stored. */
export const Environments = z.record(Environment, EnvironmentSettings);
export type Environments = z.infer<typeof Environments>;

/** A worker that is deployed as a Pages project. */
export interface StoredProject {
  readonly worker: StoredWorker;
  readonly productionBranch: string;
  readonly environments: Environments;
}

/** A variable or secret; null removes it. */
const VariablePatch = z
  .strictObject({ type: z.enum(["plain_text", "secret_text"]), value: BindingText })
  .nullable();

/** Strict: bindings that would be dropped silently belong into the project's configuration file. */
const EnvironmentPatch = z.strictObject({
  compatibility_date: z.string().optional(),
  compatibility_flags: z.array(z.string()).max(100).optional(),
  env_vars: z
    .record(BindingName, VariablePatch)
    .refine((variables) => Object.keys(variables).length <= LIMITS.secretsBulkMax, {
      error: `more than ${LIMITS.secretsBulkMax} variables`,
    })
    .optional(),
  // Of the configuration file that was deployed last: ours to ignore.
  wrangler_config_hash: z.string().optional(),
});
export type EnvironmentPatch = z.infer<typeof EnvironmentPatch>;

const EnvironmentPatches = z.strictObject({
  production: EnvironmentPatch.optional(),
  preview: EnvironmentPatch.optional(),
});
export type EnvironmentPatches = z.infer<typeof EnvironmentPatches>;

/** Body of `POST /pages/projects`. */
export const ProjectRequest = z.strictObject({
  name: ProjectName,
  production_branch: Branch,
  deployment_configs: EnvironmentPatches.optional(),
});
export type ProjectRequest = z.infer<typeof ProjectRequest>;

/** Body of `PATCH /pages/projects/:worker`: only what is named changes. */
export const ProjectPatch = z.strictObject({
  production_branch: Branch.optional(),
  deployment_configs: EnvironmentPatches.optional(),
});
export type ProjectPatch = z.infer<typeof ProjectPatch>;

/** Body of `check-missing` and `upsert-hashes`. */
export const AnnouncedHashes = z.object({ hashes: z.array(AssetHash).max(LIMITS.assetsMax) });

/** Body of `upload`: files by hash. */
export const PagesFiles = z
  .array(
    z.object({
      key: AssetHash,
      value: z.string(),
      metadata: z.object({
        contentType: z.string().regex(/^[\x20-\x7e]{1,255}$/, "the content type is none"),
      }),
      base64: z.literal(true),
    }),
  )
  .max(LIMITS.pagesUploadFilesMax);
export type PagesFiles = z.infer<typeof PagesFiles>;

/** The files of a deployment by path. */
export const PagesManifest = manifestOf(AssetHash);
export type PagesManifest = z.infer<typeof PagesManifest>;

const Rules = z.array(
  z.string().max(LIMITS.pagesRuleCharactersMax).startsWith("/", "a rule begins with '/'"),
);

/** `_routes.json`. */
export const PagesRoutes = z
  .object({ version: z.literal(1), include: Rules.min(1), exclude: Rules })
  .refine(({ include, exclude }) => include.length + exclude.length <= LIMITS.pagesRulesMax, {
    error: `more than ${LIMITS.pagesRulesMax} rules`,
  })
  .transform(({ include, exclude }): AssetRoutes => ({ include, exclude }));

/** Query of lists. */
export const PageQuery = z.object({
  page: z.coerce.number().int().min(1).default(1),
  per_page: z.coerce
    .number()
    .int()
    .min(1)
    .max(LIMITS.pagesListedMax)
    .default(LIMITS.pagesListedMax),
  env: Environment.optional(),
});
