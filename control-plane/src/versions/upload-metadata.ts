import { z } from "zod";
import { ControlPlaneError } from "../errors.ts";
import { describeIssue } from "../http/body.ts";
import { BoundedJson } from "../http/bounded-json.ts";
import { LIMITS } from "../limits.ts";
import { ScriptSettings } from "../workers/schemas.ts";
import { RequestedAnnotations } from "./schemas.ts";

/** Without the mark of UTF-8 that some editors begin a file with: to workerd it would be part of the first rule's path. */
const Rules = z
  .string()
  .refine((text) => Buffer.byteLength(text) <= LIMITS.assetRulesBytesMax, {
    error: `longer than ${LIMITS.assetRulesBytesMax} bytes`,
  })
  .overwrite((text) => text.replace(/^\uFEFF/, ""));

/** The `assets` of an upload: how to answer for files, and the token that stands for them. */
const UploadedAssets = z.object({
  jwt: z.string().max(4_096).optional(),
  config: z
    .object({
      html_handling: z
        .enum(["auto-trailing-slash", "force-trailing-slash", "drop-trailing-slash", "none"])
        .optional(),
      not_found_handling: z.enum(["none", "404-page", "single-page-application"]).optional(),
      run_worker_first: z.union([z.boolean(), z.array(z.string().max(1_024)).max(100)]).optional(),
      _headers: Rules.optional(),
      _redirects: Rules.optional(),
      base_path: z.string().optional(),
    })
    .nullish(),
});

/**
 * The JSON beside an upload's modules. Keys that are not listed are ignored: wrangler passes on what
 * people write under `unsafe`. Those that would change what runs are listed and refused by name.
 */
export const UploadMetadata = z.object({
  main_module: z.string().optional(),
  body_part: z.string().optional(),
  bindings: z.array(z.unknown()).max(LIMITS.bindingsMax).optional(),
  keep_bindings: z.array(z.string()).max(100).nullish(),
  keep_assets: z.boolean().nullish(),
  assets: UploadedAssets.nullish(),
  compatibility_date: z.string().nullish(),
  compatibility_flags: z.array(z.string()).max(100).nullish(),
  limits: z
    .object({
      cpu_ms: z.number().int().positive().nullish(),
      subrequests: z.number().int().positive().nullish(),
    })
    .nullish(),
  annotations: RequestedAnnotations.nullish(),
  tags: z.array(z.string().max(1_024)).max(100).nullish(),
  logpush: z.boolean().nullish(),
  observability: z.record(z.string(), BoundedJson).nullish(),
  migrations: z.unknown().optional(),
  containers: z.unknown().optional(),
  exports: z.unknown().optional(),
  tail_consumers: ScriptSettings.shape.tail_consumers,
  streaming_tail_consumers: z.unknown().optional(),
  capnp_schema: z.unknown().optional(),
});
export type UploadMetadata = z.infer<typeof UploadMetadata>;

/** What an upload may ask for and Atoll does not do yet, in the words of wrangler's configuration. */
const UNSUPPORTED = {
  migrations: "Durable Object migrations",
  containers: "containers",
  exports: "declared exports",
  streaming_tail_consumers: "streaming tail consumers",
  capnp_schema: "Cap'n Proto schemas",
} as const satisfies Partial<Record<keyof UploadMetadata, string>>;

/** Parses metadata and refuses what would otherwise be dropped silently. */
export function parseUploadMetadata(json: unknown): UploadMetadata {
  const parsed = UploadMetadata.safeParse(json);
  if (!parsed.success) {
    throw new ControlPlaneError("invalid_metadata", describeIssue(parsed.error, "metadata"));
  }
  for (const [key, feature] of Object.entries(UNSUPPORTED)) {
    if (isSet(parsed.data[key as keyof typeof UNSUPPORTED])) {
      throw new ControlPlaneError(
        "unsupported",
        `Atoll does not support ${feature} yet (metadata.${key})`,
      );
    }
  }
  if (isSet(parsed.data.assets?.config?.base_path)) {
    throw new ControlPlaneError(
      "unsupported",
      "Atoll does not support a base path of assets yet (metadata.assets.config.base_path)",
    );
  }
  return parsed.data;
}

/** Empty lists and objects ask for nothing. */
function isSet(value: unknown): boolean {
  if (value === undefined || value === null || value === "") return false;
  return typeof value !== "object" || Object.keys(value).length > 0;
}
