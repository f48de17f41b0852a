import type { z } from "zod";
import type { AssetRoutes } from "../contract/index.ts";
import { ControlPlaneError } from "../errors.ts";
import { jsonOf, parseInput } from "../http/body.ts";
import { LIMITS } from "../limits.ts";
import { readFormData, readUploadForm, type UploadForm } from "../versions/upload-form.ts";
import { PagesManifest, PagesRoutes } from "./schemas.ts";

/** A deployment as wrangler sends it. */
export interface DeploymentForm {
  readonly manifest: PagesManifest;
  /** Absent outside of git: then it is for production. */
  readonly branch: string | undefined;
  readonly commitHash: string;
  readonly commitMessage: string;
  readonly isCommitDirty: boolean;
  readonly headers: string | undefined;
  readonly redirects: string | undefined;
  readonly routes: AssetRoutes | undefined;
  /** What `_worker.js` or the functions became: a worker's upload within this one. */
  readonly bundle: UploadForm | undefined;
}

/** Reads the form of `POST deployments`. The caller has bounded it before. */
export async function readDeploymentForm(request: Request): Promise<DeploymentForm> {
  const form = await readFormData(request);
  refuseLooseScript(form);
  const bundle = form.get("_worker.bundle");
  const routes = await readText(form, "_routes.json");
  return {
    manifest: parseJson(PagesManifest, (await readText(form, "manifest")) ?? "", "manifest"),
    branch: bounded(await readText(form, "branch"), "branch", LIMITS.pagesBranchCharactersMax),
    commitHash:
      bounded(
        await readText(form, "commit_hash"),
        "commit_hash",
        LIMITS.pagesCommitHashCharactersMax,
      ) ?? "",
    commitMessage: ((await readText(form, "commit_message")) ?? "").slice(
      0,
      LIMITS.annotationCharactersMax,
    ),
    isCommitDirty: (await readText(form, "commit_dirty")) === "true",
    headers: await readRules(form, "_headers"),
    redirects: await readRules(form, "_redirects"),
    routes: routes === undefined ? undefined : parseJson(PagesRoutes, routes, "_routes.json"),
    bundle: bundle instanceof File ? await readBundle(bundle) : undefined,
  };
}

/** A form as a file: its first line is the delimiter, which its type would have told. */
async function readBundle(file: File): Promise<UploadForm> {
  const content = new Uint8Array(await file.arrayBuffer());
  const end = content.indexOf(0x0d);
  const line = Buffer.from(content.subarray(0, Math.min(Math.max(end, 0), 100))).toString("latin1");
  const boundary = /^--([\w'()+,./:=?-]{1,70})$/.exec(line)?.[1];
  if (boundary === undefined) {
    throw new ControlPlaneError("invalid_multipart", "_worker.bundle is no multipart/form-data");
  }
  const headers = { "content-type": `multipart/form-data; boundary="${boundary}"` };
  return readUploadForm(new Response(content, { headers }));
}

function refuseLooseScript(form: FormData): void {
  if (!form.has("_worker.js")) return;
  throw new ControlPlaneError(
    "unsupported",
    "Atoll takes _worker.js as a bundle alone, which wrangler makes since 3.0: update it",
  );
}

async function readText(form: FormData, name: string): Promise<string | undefined> {
  const part = form.get(name);
  if (part === null) return undefined;
  return typeof part === "string" ? part : part.text();
}

async function readRules(form: FormData, name: string): Promise<string | undefined> {
  const text = await readText(form, name);
  if (text === undefined || Buffer.byteLength(text) <= LIMITS.assetRulesBytesMax) return text;
  throw new ControlPlaneError(
    "invalid_body",
    `${name} is longer than ${LIMITS.assetRulesBytesMax} bytes`,
  );
}

function bounded(
  text: string | undefined,
  name: string,
  charactersMax: number,
): string | undefined {
  if (text === undefined || text === "") return undefined;
  if (text.length <= charactersMax) return text;
  throw new ControlPlaneError("invalid_body", `${name} is longer than ${charactersMax} characters`);
}

function parseJson<Schema extends z.ZodType>(
  schema: Schema,
  text: string,
  what: string,
): z.output<Schema> {
  return parseInput(schema, jsonOf(text, `${what} is missing, or not JSON`), what);
}
