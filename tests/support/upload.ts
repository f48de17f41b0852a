import type { Answer, TestAtoll } from "./atoll.ts";

export interface Upload {
  readonly name: string;
  /** Source of the main module, `index.js`. */
  readonly source: string;
  /** Further keys of the metadata, such as `bindings`. */
  readonly metadata?: Readonly<Record<string, unknown>>;
}

/** Uploads and deploys a worker by one API call: what tests use that are not about wrangler. */
export function upload(atoll: TestAtoll, { name, source, metadata }: Upload): Promise<Answer> {
  const form = new FormData();
  form.set(
    "metadata",
    JSON.stringify({ main_module: "index.js", compatibility_date: "2026-06-01", ...metadata }),
  );
  const type = "application/javascript+module";
  form.set("index.js", new Blob([source], { type }), "index.js");
  return sendForm(atoll, { path: `/workers/scripts/${name}`, method: "PUT", form });
}

/** Sends a form to a path below the account. */
export async function sendForm(
  atoll: TestAtoll,
  call: { readonly path: string; readonly method: string; readonly form: FormData },
): Promise<Answer> {
  const encoded = new Response(call.form);
  return atoll.api(`/accounts/${atoll.variables["CLOUDFLARE_ACCOUNT_ID"]}${call.path}`, {
    method: call.method,
    headers: { "content-type": encoded.headers.get("content-type") ?? "" },
    body: new Uint8Array(await encoded.arrayBuffer()),
  });
}

/** Removes a worker. */
export function removeWorker(atoll: TestAtoll, name: string): Promise<Answer> {
  const account = atoll.variables["CLOUDFLARE_ACCOUNT_ID"];
  return atoll.api(`/accounts/${account}/workers/services/${name}?force=true`, {
    method: "DELETE",
  });
}
