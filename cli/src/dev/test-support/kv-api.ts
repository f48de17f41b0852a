import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { WranglerEnvironment } from "../../wrangler-environment.ts";

interface StoredValue {
  readonly bytes: Buffer;
  readonly metadata?: unknown;
  readonly expiry: string;
}

/** A server of the calls that `--remote-kv` makes, with one namespace and one deployed worker. */
export class KvApi {
  static readonly namespace = "0123456789abcdef0123456789abcdef";
  static readonly worker = "example";
  static readonly binding = "STORE";
  readonly values = new Map<string, StoredValue>();
  /** Bindings that the deployed worker has. */
  readonly bindings: string[] = [KvApi.binding];
  /** How often somebody asked for them. */
  asked = 0;
  readonly #server = createServer((request, response) => void this.#serve(request, response));

  async listen(): Promise<WranglerEnvironment> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    const { port } = this.#server.address() as AddressInfo;
    return {
      CLOUDFLARE_API_BASE_URL: `http://127.0.0.1:${port}/client/v4`,
      CLOUDFLARE_API_TOKEN: "token",
      CLOUDFLARE_ACCOUNT_ID: "account",
    };
  }

  async close(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, "close");
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.headers.authorization !== "Bearer token") {
      return fail(response, 401, "Authentication error");
    }
    const url = new URL(request.url ?? "/", "http://api");
    const path = url.pathname.replace("/client/v4/accounts/account", "");
    const namespace = `/storage/kv/namespaces/${KvApi.namespace}`;
    if (path === `/workers/scripts/${KvApi.worker}/settings`) {
      this.asked += 1;
      const kv = { type: "kv_namespace", namespace_id: KvApi.namespace };
      return succeed(response, { bindings: this.bindings.map((name) => ({ ...kv, name })) });
    }
    if (!path.startsWith(namespace)) return fail(response, 404, `${path} does not exist`);
    const rest = path.slice(namespace.length);
    if (rest === "/keys") return this.#list(url, response);
    if (rest === "/bulk/get") {
      const { keys } = JSON.parse(String(await bodyOf(request))) as { keys: string[] };
      const found = keys.map((key) => [key, this.values.get(key)?.bytes.toString() ?? null]);
      return succeed(response, { values: Object.fromEntries(found) as unknown });
    }
    const key = decodeURIComponent(rest.slice("/values/".length));
    if (request.method === "PUT") return this.#put(key, request, response);
    if (request.method === "DELETE") {
      this.values.delete(key);
      return succeed(response, {});
    }
    const value = this.values.get(key);
    if (value === undefined) return fail(response, 404, "key not found");
    response.end(value.bytes);
  }

  async #put(key: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { searchParams: query } = new URL(request.url ?? "/", "http://api");
    if (Number(query.get("expiration_ttl") ?? 60) < 60) {
      return fail(
        response,
        400,
        "Invalid expiration_ttl of 5. Expiration TTL must be at least 60.",
      );
    }
    const body = await bodyOf(request);
    const expiry = query.toString();
    const type = request.headers["content-type"] ?? "";
    if (!type.startsWith("multipart/form-data")) {
      this.values.set(key, { bytes: body, expiry });
      return succeed(response, {});
    }
    const form = await new Response(body, { headers: { "content-type": type } }).formData();
    const bytes = Buffer.from(await (form.get("value") as Blob).arrayBuffer());
    const metadata: unknown = JSON.parse(form.get("metadata") as string);
    this.values.set(key, { bytes, metadata, expiry });
    succeed(response, {});
  }

  // A cursor is the number of keys before the page.
  #list(url: URL, response: ServerResponse): void {
    const prefix = url.searchParams.get("prefix") ?? "";
    const start = Number(url.searchParams.get("cursor") ?? 0);
    const end = start + Number(url.searchParams.get("limit") ?? 1000);
    const names = [...this.values.keys()].filter((name) => name.startsWith(prefix)).toSorted();
    const rows = names.slice(start, end).map((name) => {
      const metadata = this.values.get(name)?.metadata;
      return metadata === undefined ? { name } : { name, metadata };
    });
    const cursor = end < names.length ? String(end) : "";
    succeed(response, rows, { cursor, count: rows.length });
  }
}

async function bodyOf(request: IncomingMessage): Promise<Buffer<ArrayBuffer>> {
  const pieces: Uint8Array[] = [];
  for await (const piece of request) pieces.push(piece as Uint8Array);
  return Buffer.concat(pieces);
}

function succeed(response: ServerResponse, result: unknown, info?: object): void {
  response.end(
    JSON.stringify({ success: true, errors: [], messages: [], result, result_info: info }),
  );
}

function fail(response: ServerResponse, status: number, message: string): void {
  response.writeHead(status);
  response.end(
    JSON.stringify({ success: false, errors: [{ code: 1, message }], messages: [], result: null }),
  );
}
