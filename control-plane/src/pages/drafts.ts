import { z } from "zod";
import { blobHashOf } from "../blobs/blob-hash.ts";
import type { BlobHash, SecretValues } from "../contract/index.ts";
import { ControlPlaneError } from "../errors.ts";
import type { VersionBase, VersionDraft } from "../versions/publisher.ts";
import { draftUpload } from "../versions/upload.ts";
import type { DeploymentForm } from "./deployment-form.ts";
import { siteHeaders } from "./site-headers.ts";
import type { Environment, EnvironmentSettings } from "./schemas.ts";

/** What a project serves before anything is deployed. */
const PLACEHOLDER = `export default {
  fetch: () => new Response("Nothing is here yet: this Pages project has no deployment.\\n", { status: 404 }),
};`;

/** The first version of a project: a worker has one from its beginning, and its hosts are known to nodes. */
export function draftPlaceholder(settings: EnvironmentSettings): VersionDraft {
  const content = Buffer.from(PLACEHOLDER);
  const blob = blobHashOf(content);
  const main = { name: "placeholder.js", kind: "esm", blob, size: content.length } as const;
  const { compatibilityDate, compatibilityFlags } = settings;
  return {
    version: {
      ...{ compatibilityDate, compatibilityFlags, bindings: [] },
      code: { kind: "modules", modules: [main] },
    },
    secrets: {},
    sourceMaps: [],
    annotations: {},
    contents: new Map([[blob, content]]),
  };
}

/** A deployment, and what its project says of all of its environment. */
export interface DeploymentParts {
  readonly form: DeploymentForm;
  readonly environment: Environment;
  readonly branch: string;
  /** What its branch's host begins with; none for production. */
  readonly alias: string | undefined;
  readonly settings: EnvironmentSettings;
  readonly secrets: SecretValues;
  /** The manifest of its files, as it is stored. */
  readonly manifest: BlobHash;
  readonly nowMs: number;
}

/** Drafts the version that a deployment is: the upload of a worker with files, with what Pages adds. */
export async function draftDeployment(
  parts: DeploymentParts,
  base: VersionBase | undefined,
): Promise<VersionDraft> {
  const { form, environment, branch, settings, nowMs } = parts;
  const bundled = bundledMetadata(form);
  const hasCode = form.bundle !== undefined;
  const metadata = {
    ...bundled,
    compatibility_date: bundled.compatibility_date ?? settings.compatibilityDate,
    compatibility_flags: bundled.compatibility_flags ?? settings.compatibilityFlags,
    bindings: hasCode ? bindingsOf(parts, bundled.bindings) : [],
    // All of them are named here.
    keep_bindings: [],
    assets: { jwt: "stored", config: assetsConfig(parts) },
    annotations: {
      "workers/message": form.commitMessage,
      ...(parts.alias === undefined ? {} : { "workers/alias": parts.alias }),
    },
  };
  const upload = { metadata, files: form.bundle?.files ?? [] };
  const resolveManifest = async (): Promise<BlobHash> => parts.manifest;
  const draft = await draftUpload({ form: upload, base, resolveManifest, nowMs });
  const { commitHash, commitMessage, isCommitDirty } = form;
  const pages = { environment, branch, commitHash, commitMessage, isCommitDirty };
  const { assets } = draft.version;
  if (assets === undefined || form.routes === undefined || !hasCode) return { ...draft, pages };
  const version = { ...draft.version, assets: { ...assets, routes: form.routes } };
  return { ...draft, version, pages };
}

/** What of a bundle's metadata is not passed on as it is. Its bindings are absent without a configuration file. */
const BundledMetadata = z.looseObject({
  bindings: z.array(z.unknown()).optional(),
  compatibility_date: z.string().nullish(),
  compatibility_flags: z.array(z.string()).nullish(),
});

function bundledMetadata({ bundle }: DeploymentForm): z.infer<typeof BundledMetadata> {
  const parsed = BundledMetadata.safeParse(bundle?.metadata ?? {});
  if (parsed.success) return parsed.data;
  throw new ControlPlaneError(
    "invalid_metadata",
    "The metadata of _worker.bundle is not of the known form",
  );
}

/** A configuration file says what there is, but for secrets; without one the project does. */
function bindingsOf(
  { form, branch, settings, secrets }: DeploymentParts,
  configured: ReadonlyArray<unknown> | undefined,
): ReadonlyArray<unknown> {
  const own = [
    ...(configured ?? plainTexts(settings.variables)),
    ...Object.entries(secrets).map(([name, text]) => ({ type: "secret_text", name, text })),
  ];
  const taken = new Set(own.map((binding) => Named.safeParse(binding).data?.name));
  const added = [
    { type: "assets", name: "ASSETS" },
    ...plainTexts({
      CF_PAGES: "1",
      CF_PAGES_BRANCH: branch,
      CF_PAGES_COMMIT_SHA: form.commitHash,
    }),
  ];
  return [...own, ...added.filter(({ name }) => !taken.has(name))];
}

const Named = z.object({ name: z.string() });

function plainTexts(variables: Readonly<Record<string, string>>) {
  return Object.entries(variables).map(([name, text]) => ({ type: "plain_text", name, text }));
}

/** A site without a page for what is not there is taken for an application of a single page. */
function assetsConfig({ form, environment }: DeploymentParts) {
  const { redirects } = form;
  return {
    not_found_handling: Object.hasOwn(form.manifest, "/404.html")
      ? "404-page"
      : "single-page-application",
    // Without rules everything is the code's.
    ...(form.bundle === undefined ? {} : { run_worker_first: true }),
    _headers: siteHeaders(form.headers, environment),
    ...(redirects === undefined ? {} : { _redirects: redirects }),
  };
}
