import { z } from "zod";
import type { WranglerEnvironment } from "../wrangler-environment.ts";

/** A call that the API answered with an error, or did not answer. `status` is for the KV binding. */
export class KvRestError extends Error {
  readonly status: number;

  constructor(status: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "KvRestError";
    this.status = status;
  }
}

const Failure = z.object({ errors: z.array(z.object({ message: z.string() })).min(1) });
const KeyPage = z.object({
  result: z.array(
    z.object({
      name: z.string(),
      expiration: z.number().optional(),
      metadata: z.json().optional(),
    }),
  ),
  result_info: z.object({ cursor: z.string().optional() }).optional(),
});
export type KeyPage = z.infer<typeof KeyPage>;
const Values = z.object({
  result: z.object({ values: z.record(z.string(), z.string().nullable()) }),
});
const Settings = z.object({
  result: z.object({
    bindings: z.array(
      z.object({ type: z.string(), name: z.string(), namespace_id: z.string().optional() }),
    ),
  }),
});

export interface PutOptions {
  /** The query of the call: `expiration` or `expiration_ttl`. */
  readonly expiry: URLSearchParams;
  /** JSON text. */
  readonly metadata?: string;
}

/**
 * The KV part of the API that wrangler calls, for one account. Unknown fields in answers are ignored,
 * because the API may grow. Every failure is a `KvRestError`.
 */
export class KvRestClient {
  readonly #account: string;
  readonly #authorization: string;

  constructor(variables: WranglerEnvironment) {
    this.#account = `${variables.CLOUDFLARE_API_BASE_URL}/accounts/${variables.CLOUDFLARE_ACCOUNT_ID}`;
    this.#authorization = `Bearer ${variables.CLOUDFLARE_API_TOKEN}`;
  }

  /** Namespaces that the deployed worker's KV bindings name; none when it was never deployed. */
  async boundNamespaces(worker: string): Promise<ReadonlyMap<string, string>> {
    const url = `${this.#account}/workers/scripts/${encodeURIComponent(worker)}/settings`;
    const response = await this.#call(url);
    if (response.status === 404) return new Map();
    const { result } = Settings.parse(await jsonOf(response));
    return new Map(
      result.bindings.flatMap(({ type, name, namespace_id: id }) =>
        type === "kv_namespace" && id !== undefined ? [[name, id]] : [],
      ),
    );
  }

  async getValue(namespace: string, key: string): Promise<Uint8Array | undefined> {
    const response = await this.#call(this.#valueUrl(namespace, key));
    if (response.status === 404) return undefined;
    await refuseFailure(response);
    return response.bytes();
  }

  async getValues(
    namespace: string,
    keys: ReadonlyArray<string>,
  ): Promise<Readonly<Record<string, string | null>>> {
    const response = await this.#call(`${this.#namespaceUrl(namespace)}/bulk/get`, {
      method: "POST",
      body: JSON.stringify({ keys }),
    });
    return Values.parse(await jsonOf(response)).result.values;
  }

  async putValue(
    { namespace, key }: { readonly namespace: string; readonly key: string },
    value: Uint8Array<ArrayBuffer>,
    options: PutOptions,
  ): Promise<void> {
    const query = options.expiry.size === 0 ? "" : `?${options.expiry.toString()}`;
    const response = await this.#call(`${this.#valueUrl(namespace, key)}${query}`, {
      method: "PUT",
      body: options.metadata === undefined ? value : multipart(value, options.metadata),
    });
    await refuseFailure(response);
  }

  async deleteValue(namespace: string, key: string): Promise<void> {
    const response = await this.#call(this.#valueUrl(namespace, key), { method: "DELETE" });
    // Deleting what is not there succeeds for the binding.
    if (response.status !== 404) await refuseFailure(response);
  }

  /** One page of keys; `query` holds `prefix`, `limit` and `cursor`. */
  async listKeys(namespace: string, query: URLSearchParams): Promise<KeyPage> {
    const response = await this.#call(`${this.#namespaceUrl(namespace)}/keys?${query.toString()}`);
    return KeyPage.parse(await jsonOf(response));
  }

  #namespaceUrl(namespace: string): string {
    return `${this.#account}/storage/kv/namespaces/${encodeURIComponent(namespace)}`;
  }

  #valueUrl(namespace: string, key: string): string {
    return `${this.#namespaceUrl(namespace)}/values/${encodeURIComponent(key)}`;
  }

  async #call(url: string, init: RequestInit = {}): Promise<Response> {
    const request = new Request(url, init);
    request.headers.set("authorization", this.#authorization);
    try {
      return await fetch(request);
    } catch (cause) {
      const { origin } = new URL(url);
      throw new KvRestError(503, `no answer from ${origin}: is Atoll running?`, { cause });
    }
  }
}

function multipart(value: Uint8Array<ArrayBuffer>, metadata: string): FormData {
  const form = new FormData();
  form.set("value", new Blob([value]));
  form.set("metadata", metadata);
  return form;
}

async function jsonOf(response: Response): Promise<unknown> {
  await refuseFailure(response);
  return response.json();
}

async function refuseFailure(response: Response): Promise<void> {
  if (response.ok) return;
  const failure = Failure.safeParse(await response.json().catch(() => undefined));
  const message = failure.data?.errors[0]?.message ?? `status ${response.status} from the API`;
  throw new KvRestError(response.status, message);
}
