import { NamespaceId } from "@atoll/kv-store";
import { z } from "zod";
import { AccountSettings, DEFAULT_ACCOUNT_SETTINGS } from "./account-settings.ts";
import { AccountId, BlobHash, VersionId, WorkerName } from "./names.ts";

/** What a module is to the worker that imports it. */
export const MODULE_KINDS = ["esm", "commonjs", "text", "data", "json", "wasm"] as const;
export type ModuleKind = (typeof MODULE_KINDS)[number];

/** One file of a version. `name` is the import specifier, exactly as it was uploaded. */
export const Module = z.object({
  name: z.string().min(1),
  kind: z.enum(MODULE_KINDS),
  blob: BlobHash,
  size: z.number().int().nonnegative(),
});
export type Module = z.infer<typeof Module>;

/**
 * What a version finds in its `env`. Secrets are named here and travel sealed, beside the version.
 * The `*_module`, `text_blob` and `data_blob` kinds are globals of the service-worker format.
 */
export const Binding = z.discriminatedUnion("type", [
  z.object({ type: z.literal("plain_text"), name: z.string(), text: z.string() }),
  z.object({ type: z.literal("json"), name: z.string(), json: z.json() }),
  z.object({ type: z.literal("secret_text"), name: z.string() }),
  z.object({
    type: z.literal("kv_namespace"),
    name: z.string(),
    namespace_id: NamespaceId,
    /** The worker speaks HTTP to the store itself, which can more than workerd's binding; see docs/kv.md. */
    raw: z.literal(true).optional(),
  }),
  z.object({
    type: z.literal("service"),
    name: z.string(),
    service: WorkerName,
    entrypoint: z.string().optional(),
    props: z.json().optional(),
  }),
  z.object({ type: z.literal("assets"), name: z.string() }),
  z.object({ type: z.literal("version_metadata"), name: z.string() }),
  z.object({ type: z.literal("wasm_module"), name: z.string(), part: z.string() }),
  z.object({ type: z.literal("text_blob"), name: z.string(), part: z.string() }),
  z.object({ type: z.literal("data_blob"), name: z.string(), part: z.string() }),
]);
export type Binding = z.infer<typeof Binding>;

/**
 * Which paths are the code's, as in the `_routes.json` of Pages: those that a rule of `include` matches and none of
 * `exclude`. All others are answered with files alone. A `*` in a rule is any text.
 */
export const AssetRoutes = z.object({ include: z.array(z.string()), exclude: z.array(z.string()) });
export type AssetRoutes = z.infer<typeof AssetRoutes>;

/**
 * How a version answers for its static files: the fields of wrangler's `assets`, with the text of
 * `_headers` and `_redirects` as written, but for a byte order mark. `manifest` is the blob that holds the `AssetManifest`.
 */
export const Assets = z.object({
  manifest: BlobHash,
  htmlHandling: z
    .enum(["auto-trailing-slash", "force-trailing-slash", "drop-trailing-slash", "none"])
    .optional(),
  notFoundHandling: z.enum(["none", "404-page", "single-page-application"]).optional(),
  runWorkerFirst: z.union([z.boolean(), z.array(z.string())]).optional(),
  /** Decides in place of `runWorkerFirst`. */
  routes: AssetRoutes.optional(),
  headers: z.string().optional(),
  redirects: z.string().optional(),
});
export type Assets = z.infer<typeof Assets>;

/** JSON content of a manifest blob: path (`/` first, raw UTF-8) to the file behind it. */
export const AssetManifest = z.record(
  z.string().startsWith("/"),
  z.object({
    blob: BlobHash,
    size: z.number().int().nonnegative(),
    /** Absent when wrangler knew no type for the extension: then none is served. */
    contentType: z.string().optional(),
  }),
);
export type AssetManifest = z.infer<typeof AssetManifest>;

/**
 * The code of a version. `none` is an assets-only site. In a list of modules the main one is first.
 * A service-worker script's other files are reached through its bindings' `part`.
 */
export const Code = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("modules"), modules: z.array(Module).min(1) }),
  z.object({ kind: z.literal("service-worker"), script: Module, parts: z.array(Module) }),
  z.object({ kind: z.literal("none") }),
]);
export type Code = z.infer<typeof Code>;

/** All modules of the code, the main one first. */
export function modulesOf(code: Code): ReadonlyArray<Module> {
  switch (code.kind) {
    case "modules":
      return code.modules;
    case "service-worker":
      return [code.script, ...code.parts];
    case "none":
      return [];
  }
}

/** Of all modules together. */
export function codeBytes(code: Code): number {
  return modulesOf(code).reduce((bytes, { size }) => bytes + size, 0);
}

/** One immutable version: everything that a cell needs to run it, but the values of its secrets. */
export const Version = z.object({
  id: VersionId,
  number: z.number().int().positive(),
  createdAt: z.iso.datetime(),
  tag: z.string().optional(),
  code: Code,
  compatibilityDate: z.string(),
  compatibilityFlags: z.array(z.string()),
  bindings: z.array(Binding),
  assets: Assets.optional(),
  limits: z
    .object({
      cpuMs: z.number().int().positive().optional(),
      subrequests: z.number().int().positive().optional(),
    })
    .optional(),
});
export type Version = z.infer<typeof Version>;

/** Values of a version's `secret_text` bindings by name: in the clear, so never stored or logged. */
export const SecretValues = z.record(z.string(), z.string());
export type SecretValues = z.infer<typeof SecretValues>;

/** A version with its secrets sealed to the one node that receives it; see `sealed-box.ts`. */
export const DeployedVersion = z.object({
  version: Version,
  /**
   * Percentage of the requests; those of a worker's versions add up to 100. 0: only requests that ask for
   * this very version go to it.
   */
  percentage: z.number().min(0).max(100),
  /** A sealed box whose content is the JSON of a `SecretValues`; absent when there are none. */
  secrets: z.instanceof(Uint8Array).optional(),
});
export type DeployedVersion = z.infer<typeof DeployedVersion>;

/** What a node runs for one worker. */
export const DesiredWorker = z.object({
  account: AccountId,
  name: WorkerName,
  versions: z.array(DeployedVersion).min(1).max(2),
  /**
   * Every route pattern that leads to the worker, its own `<worker>.<base domain>/*` included, in
   * the form `host/path` with `*` as documented for Workers routes; the most specific one wins.
   */
  routes: z.array(z.string()),
  /**
   * Its own host, in front of which a label and a dash name any of its versions, deployed or not; absent
   * where it has no previews.
   */
  previewHost: z.string().max(253).optional(),
  /** Whether it is called by schedules, and its cell has to let it be. */
  isScheduled: z.boolean().default(false),
  /** Workers of the account whose `tail()` hears what happens to it; they need not exist. */
  tailConsumers: z.array(WorkerName).default([]),
  /** Of its account. */
  settings: AccountSettings.default(DEFAULT_ACCOUNT_SETTINGS),
});
export type DesiredWorker = z.infer<typeof DesiredWorker>;
