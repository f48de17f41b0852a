import { blake3 } from "hash-wasm";
import type { TestAtoll } from "./atoll.ts";

export interface SiteUpload {
  readonly worker: string;
  /** Source of `index.js`. */
  readonly source: string;
  /** Static files by path, `/` first. */
  readonly files: Readonly<Record<string, string>>;
  readonly message: string;
}

interface Session {
  readonly jwt: string;
  readonly buckets: ReadonlyArray<ReadonlyArray<string>>;
}

/**
 * Deploys a worker with static files by the calls that wrangler makes: announced, uploaded bucket by bucket,
 * then code and metadata. Resolves with the version's id; `undefined` when a call got no answer or was refused.
 */
export async function uploadSite(atoll: TestAtoll, site: SiteUpload): Promise<string | undefined> {
  const account = atoll.variables["CLOUDFLARE_ACCOUNT_ID"] ?? "";
  const base = `${atoll.url}/client/v4/accounts/${account}/workers`;
  const token = atoll.variables["CLOUDFLARE_API_TOKEN"] ?? "";
  try {
    const hashes = await hashesOf(site.files);
    const manifest = Object.fromEntries(
      Object.entries(site.files).map(([path, content]) => [
        path,
        { hash: hashes.get(path), size: Buffer.byteLength(content) },
      ]),
    );
    const announced = await call(`${base}/scripts/${site.worker}/assets-upload-session`, {
      ...{ method: "POST", token, body: JSON.stringify({ manifest }) },
    });
    const session = announced as Session;
    let { jwt } = session;
    for (const bucket of session.buckets) {
      const body = bucketForm(bucket, { hashes, files: site.files });
      const url = `${base}/assets/upload?base64=true`;
      const sent = (await call(url, {
        method: "POST",
        token: session.jwt,
        body,
      })) as Partial<Session>;
      jwt = sent.jwt ?? jwt;
    }
    const url = `${base}/scripts/${site.worker}`;
    const deployed = await call(url, { method: "PUT", token, body: codeForm(site, jwt) });
    return (deployed as { readonly deployment_id: string }).deployment_id;
  } catch (error) {
    if (error instanceof NotDone) return undefined;
    throw error;
  }
}

/** No answer came, or one that says that the call may be made again. */
class NotDone extends Error {}

async function call(
  url: string,
  options: { readonly method: string; readonly token: string; readonly body: string | FormData },
): Promise<unknown> {
  const { method, token, body } = options;
  const answer = await fetch(url, { method, body, headers: { authorization: `Bearer ${token}` } })
    .then(async (response) => ({ status: response.status, text: await response.text() }))
    .catch((cause: unknown) => {
      throw new NotDone("no answer", { cause });
    });
  if (answer.status === 503) throw new NotDone(answer.text);
  if (answer.status >= 300) throw new Error(`${method} ${url}: ${answer.status} ${answer.text}`);
  return (JSON.parse(answer.text) as { readonly result: unknown }).result;
}

/** wrangler's hashes of files, by their paths. */
async function hashesOf(
  files: Readonly<Record<string, string>>,
): Promise<ReadonlyMap<string, string>> {
  const pairs = Object.entries(files).map(async ([path, content]) => {
    const extension = path.split(".").at(-1) ?? "";
    const hash = await blake3(Buffer.from(content).toString("base64") + extension);
    return [path, hash.slice(0, 32)] as const;
  });
  return new Map(await Promise.all(pairs));
}

function bucketForm(
  bucket: ReadonlyArray<string>,
  {
    hashes,
    files,
  }: {
    readonly hashes: ReadonlyMap<string, string>;
    readonly files: Readonly<Record<string, string>>;
  },
): FormData {
  const form = new FormData();
  for (const [path, content] of Object.entries(files)) {
    const hash = hashes.get(path) ?? "";
    if (!bucket.includes(hash)) continue;
    const base64 = Buffer.from(content).toString("base64");
    form.append(hash, new File([base64], hash, { type: "text/plain" }));
  }
  return form;
}

function codeForm({ source, message }: SiteUpload, jwt: string): FormData {
  const form = new FormData();
  const metadata = {
    main_module: "index.js",
    compatibility_date: "2026-06-01",
    bindings: [
      { type: "assets", name: "ASSETS" },
      { type: "secret_text", name: "SECRET", text: message },
    ],
    assets: { jwt, config: { run_worker_first: false } },
    annotations: { "workers/message": message },
  };
  form.set("metadata", JSON.stringify(metadata));
  const type = "application/javascript+module";
  form.set("index.js", new Blob([source], { type }), "index.js");
  return form;
}
