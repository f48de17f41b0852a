import type { Assets, Version } from "../contract/index.ts";
import type { ScriptSettings } from "../workers/schemas.ts";
import { parseBindings } from "./binding-requests.ts";
import { resolveBindings, type BoundValues } from "./bindings.ts";
import { readCode } from "./code.ts";
import { parseCompatibilityDate, parseCompatibilityFlags } from "./compatibility.ts";
import type { VersionBase, VersionDraft } from "./publisher.ts";
import type { UploadForm } from "./upload-form.ts";
import { parseUploadMetadata, type UploadMetadata } from "./upload-metadata.ts";

/** Turns a completion token into the manifest that it stands for. */
export type ManifestResolver = (token: string) => Promise<Assets["manifest"]>;

/** Drafts the version that an upload describes, over what the worker had before. */
export async function draftUpload(options: {
  readonly form: UploadForm;
  readonly base: VersionBase | undefined;
  readonly resolveManifest: ManifestResolver;
  readonly nowMs: number;
}): Promise<VersionDraft> {
  const { form, base } = options;
  const metadata = parseUploadMetadata(form.metadata);
  const { code, sourceMaps, contents } = readCode(metadata, form.files);
  const { bindings, secrets } = resolveBindings({
    requested: parseBindings(metadata.bindings ?? []),
    previous: base && boundValues(base),
    keptTypes: metadata.keep_bindings,
  });
  const assets = await draftAssets(metadata, base, options.resolveManifest);
  const limits = draftLimits(metadata);
  const tag = metadata.annotations?.["workers/tag"];
  const version = {
    code,
    compatibilityDate: parseCompatibilityDate(metadata.compatibility_date, options.nowMs),
    compatibilityFlags: parseCompatibilityFlags(metadata.compatibility_flags),
    bindings: [...bindings],
    ...(assets === undefined ? {} : { assets }),
    ...(limits === undefined ? {} : { limits }),
    ...(tag === undefined ? {} : { tag }),
  };
  const annotations = metadata.annotations ?? {};
  const settings = draftSettings(metadata);
  return { version, secrets, sourceMaps, annotations, contents, settings };
}

export function boundValues(base: VersionBase): BoundValues {
  return { bindings: base.latest.version.bindings, secrets: base.secrets };
}

async function draftAssets(
  metadata: UploadMetadata,
  base: VersionBase | undefined,
  resolveManifest: ManifestResolver,
): Promise<Assets | undefined> {
  const { assets, keep_assets: isKept } = metadata;
  const previous = isKept === true ? base?.latest.version.assets : undefined;
  const manifest =
    typeof assets?.jwt === "string" ? await resolveManifest(assets.jwt) : previous?.manifest;
  if (manifest === undefined) return undefined;
  if (assets?.config === undefined || assets.config === null) {
    return { ...previous, manifest };
  }
  const { config } = assets;
  return {
    manifest,
    ...(config.html_handling === undefined ? {} : { htmlHandling: config.html_handling }),
    ...(config.not_found_handling === undefined
      ? {}
      : { notFoundHandling: config.not_found_handling }),
    ...(config.run_worker_first === undefined ? {} : { runWorkerFirst: config.run_worker_first }),
    ...(config._headers === undefined ? {} : { headers: config._headers }),
    ...(config._redirects === undefined ? {} : { redirects: config._redirects }),
  };
}

function draftLimits({ limits }: UploadMetadata): Version["limits"] {
  const cpuMs = limits?.cpu_ms ?? undefined;
  const subrequests = limits?.subrequests ?? undefined;
  if (cpuMs === undefined && subrequests === undefined) return undefined;
  return {
    ...(cpuMs === undefined ? {} : { cpuMs }),
    ...(subrequests === undefined ? {} : { subrequests }),
  };
}

/** Only what the upload names: the rest of a worker's settings stays. */
function draftSettings(metadata: UploadMetadata): ScriptSettings {
  const { tags, logpush, observability, tail_consumers: consumers } = metadata;
  return {
    ...(consumers === undefined ? {} : { tail_consumers: consumers }),
    ...(tags === undefined || tags === null ? {} : { tags }),
    ...(logpush === undefined || logpush === null ? {} : { logpush }),
    ...(observability === undefined || observability === null ? {} : { observability }),
  };
}
