import type { Answer, ControlPlaneApi, Tenant } from "./control-plane-api.ts";
import { answerOf, MAIN_MODULE, uploadForm } from "./control-plane-api.ts";
import { assetHashOf } from "./sent-asset.ts";

/** Deploys sites to a Pages project call by call, as wrangler does. */
export class PagesSite {
  readonly #api: ControlPlaneApi;
  readonly name: string;
  readonly #tenant: Tenant;

  constructor(api: ControlPlaneApi, name: string, tenant: Tenant = "ours") {
    this.#api = api;
    this.name = name;
    this.#tenant = tenant;
  }

  /** Where the project is, below `/client/v4`. */
  get path(): string {
    return `A/pages/projects/${this.name}`;
  }

  create(more: Readonly<Record<string, unknown>> = {}): Promise<Answer> {
    const body = { name: this.name, production_branch: "main", ...more };
    return this.#api.call("POST A/pages/projects", body, this.#tenant);
  }

  async token(): Promise<string> {
    const { result } = await this.#api.call(
      `GET ${this.path}/upload-token`,
      undefined,
      this.#tenant,
    );
    return (result as { readonly jwt: string }).jwt;
  }

  missing(token: string, hashes: ReadonlyArray<string>): Promise<Answer> {
    return this.#send("check-missing", token, { hashes });
  }

  upload(token: string, files: ReadonlyArray<PagesFile>): Promise<Answer> {
    return this.#send("upload", token, files);
  }

  /** The last call of a deployment. */
  deploy(manifest: unknown, fields: Readonly<Record<string, string | File>> = {}): Promise<Answer> {
    const form = new FormData();
    form.set("manifest", typeof manifest === "string" ? manifest : JSON.stringify(manifest));
    for (const [name, value] of Object.entries(fields)) form.set(name, value);
    return this.#api.call(`POST ${this.path}/deployments`, form, this.#tenant);
  }

  /** All calls of a deployment. */
  async publish(
    files: Readonly<Record<string, string>>,
    fields: Readonly<Record<string, string | File>> = {},
  ): Promise<Answer> {
    const token = await this.token();
    const sent = Object.entries(files).map(([path, content]) => fileOf(path, content));
    await this.upload(token, sent);
    return this.deploy(manifestOf(files), fields);
  }

  async #send(call: string, token: string, body: unknown): Promise<Answer> {
    const response = await this.#api.fetch(`/pages/assets/${call}`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}` },
      body: JSON.stringify(body),
    });
    return answerOf(response);
  }
}

/** A file as it is sent. */
interface PagesFile {
  readonly key: string;
  readonly value: string;
  readonly metadata: { readonly contentType: string };
  readonly base64: true;
}

export function fileOf(path: string, content: string, contentType = "text/html"): PagesFile {
  const value = Buffer.from(content).toString("base64");
  return { key: assetHashOf(path, content), value, metadata: { contentType }, base64: true };
}

export function manifestOf(files: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(files).map(([path, content]) => [path, assetHashOf(path, content)]),
  );
}

/** What `_worker.js` becomes: a worker's upload as a file. */
export async function bundleOf(
  metadata: Readonly<Record<string, unknown>> = {},
  source?: string,
): Promise<File> {
  const main = source === undefined ? MAIN_MODULE : { ...MAIN_MODULE, content: source };
  const form = uploadForm(metadata, [main]);
  return new File([await new Response(form).blob()], "_worker.bundle");
}
