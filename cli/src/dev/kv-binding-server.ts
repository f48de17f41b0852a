import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { asciiJson, LIMITS } from "@atoll/kv-store";
import { z } from "zod";
import { type KvRestClient, KvRestError } from "./kv-rest-client.ts";

/** Header in which a worker's binding names its namespace; workerd sets it, no worker can. */
export const NAMESPACE_HEADER = "x-atoll-namespace";
const METADATA_HEADER = "cf-kv-metadata";
// A hundred keys of 512 bytes, each byte escaped in JSON: what a bulk read can ask for at most.
const BULK_BODY_BYTES_MAX = 512 * 1024;

const BulkGet = z.object({
  keys: z.array(z.string()).min(1).max(LIMITS.bulkGetKeysMax),
  type: z.enum(["text", "json"]).default("text"),
  withMetadata: z.boolean().default(false),
});

interface Call {
  readonly request: IncomingMessage;
  readonly namespace: string;
  readonly url: URL;
}

interface Answer {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string;
}

/** Serves the protocol of workerd's KV binding on a unix socket, out of the API that wrangler calls. */
export class KvBindingServer {
  readonly #client: KvRestClient;
  readonly #server: Server;

  constructor(client: KvRestClient) {
    this.#client = client;
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  async listen(socketPath: string): Promise<void> {
    this.#server.listen(socketPath);
    await once(this.#server, "listening");
  }

  /** May be called twice. */
  async close(): Promise<void> {
    if (!this.#server.listening) return;
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, "close");
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const answer = await this.#answer({
        request,
        namespace: String(request.headers[NAMESPACE_HEADER]),
        // The binding's own host never resolves and means nothing.
        url: new URL(request.url ?? "/", "http://kv"),
      });
      response.writeHead(answer === undefined ? 404 : 200, answer?.headers);
      response.end(answer?.body);
    } catch (error) {
      const { status, message } = asRestError(error);
      // The binding shows the worker the reason phrase and nothing else.
      response.writeHead(status, reasonPhrase(message));
      response.end();
    }
  }

  #answer(call: Call): Promise<Answer | undefined> {
    const { request, url } = call;
    if (request.method === "GET") return url.pathname === "/" ? this.#list(call) : this.#get(call);
    if (request.method === "PUT") return this.#put(call);
    if (request.method === "DELETE") return this.#delete(call);
    if (request.method === "POST" && url.pathname === "/bulk/get") return this.#getMany(call);
    throw new KvRestError(405, `the KV binding has no ${request.method} ${url.pathname}`);
  }

  async #get({ namespace, url }: Call): Promise<Answer | undefined> {
    const key = keyOf(url);
    const [value, metadata] = await Promise.all([
      this.#client.getValue(namespace, key),
      this.#metadata(namespace, key),
    ]);
    if (value === undefined) return undefined;
    const headers =
      metadata === undefined ? {} : { [METADATA_HEADER]: asciiJson(JSON.stringify(metadata)) };
    return { headers, body: value };
  }

  async #getMany({ namespace, request }: Call): Promise<Answer> {
    const body = await readBody(request, BULK_BODY_BYTES_MAX);
    const { keys, type, withMetadata } = BulkGet.parse(JSON.parse(body.toString()));
    const values = await this.#client.getValues(namespace, keys);
    const found = await Promise.all(
      keys.map(async (key) => {
        const text = values[key] ?? null;
        if (text === null) return [key, null];
        const value: unknown = type === "json" ? parseValue(key, text) : text;
        if (!withMetadata) return [key, value];
        return [key, { value, metadata: (await this.#metadata(namespace, key)) ?? null }];
      }),
    );
    return { body: JSON.stringify(Object.fromEntries(found)) };
  }

  async #put({ namespace, request, url }: Call): Promise<Answer> {
    const value = await readBody(request, LIMITS.valueBytesMax);
    const header = request.headers[METADATA_HEADER];
    // Node reads a header's bytes as Latin-1; the binding wrote UTF-8.
    const metadata =
      typeof header === "string" ? Buffer.from(header, "latin1").toString() : undefined;
    await this.#client.putValue({ namespace, key: keyOf(url) }, value, {
      expiry: pick(url.searchParams, {
        expiration: "expiration",
        expiration_ttl: "expiration_ttl",
      }),
      ...(metadata !== undefined && { metadata }),
    });
    return {};
  }

  async #delete({ namespace, url }: Call): Promise<Answer> {
    await this.#client.deleteValue(namespace, keyOf(url));
    return {};
  }

  async #list({ namespace, url }: Call): Promise<Answer> {
    const query = pick(url.searchParams, {
      key_count_limit: "limit",
      prefix: "prefix",
      cursor: "cursor",
    });
    const { result, result_info: info } = await this.#client.listKeys(namespace, query);
    const cursor = info?.cursor ?? "";
    const page = cursor === "" ? { list_complete: true } : { list_complete: false, cursor };
    return { body: JSON.stringify({ keys: result, ...page }) };
  }

  // The API tells metadata only in listings. Keys are sorted, so the first with `key` as its prefix is
  // `key` itself where it exists.
  async #metadata(namespace: string, key: string): Promise<z.core.util.JSONType | undefined> {
    const query = new URLSearchParams({ prefix: key, limit: "10" });
    const { result } = await this.#client.listKeys(namespace, query);
    return result.find(({ name }) => name === key)?.metadata;
  }
}

function keyOf(url: URL): string {
  return decodeURIComponent(url.pathname.slice(1));
}

/** The parameters that `names` lists and that are not empty, under the names that it gives them. */
function pick(query: URLSearchParams, names: Readonly<Record<string, string>>): URLSearchParams {
  const picked = new URLSearchParams();
  for (const [from, to] of Object.entries(names)) {
    const value = query.get(from) ?? "";
    // The binding sends an empty cursor for a listing from the start.
    if (value !== "") picked.set(to, value);
  }
  return picked;
}

async function readBody(request: IncomingMessage, bytesMax: number): Promise<Buffer<ArrayBuffer>> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of request) {
    length += piece.length;
    if (length > bytesMax) throw new KvRestError(413, `the body exceeds the limit of ${bytesMax}`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

function parseValue(key: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new KvRestError(400, `the value of ${key} is not JSON`, { cause });
  }
}

function reasonPhrase(message: string): string {
  return message.replaceAll(/[^\x20-\x7e]+/g, " ");
}

function asRestError(error: unknown): KvRestError {
  if (error instanceof KvRestError) return error;
  // Malformed JSON or a malformed escape in a key: the worker's call, not the API's answer.
  if (error instanceof z.ZodError || error instanceof SyntaxError || error instanceof URIError) {
    return new KvRestError(400, error.message, { cause: error });
  }
  return new KvRestError(500, String(error), { cause: error });
}
