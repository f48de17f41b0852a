import assert from "node:assert/strict";
import { rm, type FileHandle } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import type { HeldEntry, Key, KvCondition, KvOperation, KvValue } from "../entry.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Log } from "../log.ts";
import { Revision, type NamespaceId } from "../names.ts";
import type { Replica } from "../replica/replica.ts";
import type { CopyState, ReadDemand } from "../replication/read-demand.ts";
import type { ValueCache } from "../values/value-cache.ts";
import { receiveValue } from "../values/value-intake.ts";
import { asciiJson } from "./ascii-json.ts";
import { bulkResult, checkBulkSize, parseBulkGet } from "./bulk-get.ts";
import { EntryReader } from "./entry-reader.ts";
import { METADATA_HEADER, parseCall, type KvCall } from "./kv-call.ts";
import { bodyOf, drain, readText } from "./request-body.ts";

/** Header by which a cell shows which namespace it may use; workerd injects it, tenants never see it. */
export const CAPABILITY_HEADER = "x-atoll-kv";

/** Of a read: the revision of the namespace that it shows. Of a write: the one that it made. */
const REVISION_HEADER = "x-atoll-kv-revision";
/** Of a read: the copy is at most this much older than the origin. Absent while that is not known. */
const LAG_HEADER = "x-atoll-kv-lag-ms";
/** Of a key: the revision of the write that put what it holds, 0 when it holds nothing. */
const ENTRY_REVISION_HEADER = "x-atoll-kv-entry-revision";

/** Of a refusal: its code, one of `KV_ERRORS`. */
const CODE_HEADER = "x-atoll-kv-error";

/** Keeps the replica, and takes writes to the origin. A `ReplicaClient` is one; it says what each call promises. */
export interface KvClient {
  write(
    namespace: NamespaceId,
    operations: ReadonlyArray<KvOperation>,
    conditions: ReadonlyArray<KvCondition>,
  ): Promise<Revision>;
  readable(namespace: NamespaceId, demand: ReadDemand): Promise<void> | undefined;
  freshness(namespace: NamespaceId): Pick<CopyState, "revision" | "lagMs">;
}

/** What a call of the binding did; a read of several keys is one of each. */
export type KvUse = "read" | "write" | "delete" | "list";

export interface KvFrontOptions {
  /** Where to listen. A socket that an earlier run left there is replaced. */
  readonly socketPath: string;
  /** The namespace behind a capability; `undefined` for one that nobody was given. */
  readonly resolveCapability: (capability: string) => NamespaceId | undefined;
  /** Told of each call that succeeded, with how many keys it read. Must be cheap and must not throw. */
  readonly onUse?: (capability: string, use: KvUse, count: number) => void;
  readonly replica: Replica;
  readonly client: KvClient;
  readonly values: ValueCache;
  readonly log: Log;
}

/**
 * Answers workerd's native KV binding on a node: reads from the node's replica, writes through its client.
 * Errors are told in the reason phrase, because that is what the binding shows to the worker.
 */
export class KvFront {
  readonly #options: KvFrontOptions;
  readonly #server: Server;
  readonly #reader: EntryReader;
  #requests = 0;
  /** Bodies in progress that may need a file. */
  #spills = 0;

  constructor(options: KvFrontOptions) {
    this.#options = options;
    const { replica, client } = options;
    this.#reader = new EntryReader({
      replica,
      passed: async (namespace, revision) => {
        const minRevision = Revision.parse(revision + 1);
        await client.readable(namespace, { minRevision });
      },
    });
    this.#server = createServer(
      {
        // The binding's Host is a fiction, and older ones send none.
        requireHostHeader: false,
        maxHeaderSize: LIMITS.frontHeadBytesMax,
        // JSON has a bare DEL in strings, and the binding sends it so: the strict parser would refuse the
        // put. Nothing stands between a cell and this socket that could read a request in another way.
        insecureHTTPParser: true,
        requestTimeout: LIMITS.frontRequestMs,
      },
      (request, response) => void this.#onRequest(request, response),
    );
    // An idle connection lives as long as its cell: closing it could cross the cell's next request.
    this.#server.keepAliveTimeout = 0;
  }

  /** Resolves when it listens. */
  async listen(): Promise<void> {
    const { socketPath } = this.#options;
    await rm(socketPath, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(socketPath, () => {
        this.#server.off("error", reject);
        resolve();
      });
    });
  }

  /** Stops listening and closes every connection. May be called twice. */
  async close(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }

  async #onRequest(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#requests += 1;
    try {
      await this.#answer(request, response);
    } catch (error) {
      await this.#refuse(error, request, response);
    } finally {
      this.#requests -= 1;
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.#requests > LIMITS.frontRequestsMax) {
      throw new KvError("busy", `${this.#requests - 1} requests are being served already`);
    }
    const { capability, namespace } = this.#callerOf(request);
    const used = (use: KvUse, count = 1): void => this.#options.onUse?.(capability, use, count);
    const call = parseCall(request, this.#options.replica.originNowMs());
    switch (call.kind) {
      case "get":
        await this.#get(namespace, call, response);
        return used("read");
      case "bulk-get":
        return used("read", await this.#bulkGet(namespace, call, { request, response }));
      case "list":
        await this.#list(namespace, call, response);
        return used("list");
      case "put":
        await this.#put(namespace, call, { request, response });
        return used("write");
      case "delete":
        await this.#write(namespace, {
          operation: { kind: "delete", key: call.key },
          call,
          response,
        });
        return used("delete");
    }
  }

  #callerOf(request: IncomingMessage): {
    readonly capability: string;
    readonly namespace: NamespaceId;
  } {
    const capability = request.headers[CAPABILITY_HEADER];
    if (typeof capability === "string") {
      const namespace = this.#options.resolveCapability(capability);
      if (namespace !== undefined) return { capability, namespace };
    }
    throw new KvError("capability_unknown", "This caller was given no namespace");
  }

  async #get(
    namespace: NamespaceId,
    call: KvCall & { kind: "get" },
    response: ServerResponse,
  ): Promise<void> {
    await this.#readable(namespace, { keys: [call.key], ...call.freshness }, response);
    // Nearly always all there is to it.
    const held = this.#options.replica.get(namespace, call.key);
    if (held === undefined) return sendAbsent(response);
    if (held.value.kind === "inline") return sendValue(response, held, held.value.bytes);
    const { values } = this.#options;
    const place = { namespace, keys: [call.key] };
    const read = await this.#reader.read<Buffer | FileHandle>(place, {
      open: (content) =>
        content.place === undefined ? values.openValue(content) : values.readValue(content),
      close: async (content) => void (content instanceof Uint8Array || (await content.close())),
    });
    response.setHeader(REVISION_HEADER, read.revision);
    const [entry] = read.entries;
    if (entry === undefined) return sendAbsent(response);
    const { value } = entry;
    if (value.kind === "inline") return sendValue(response, entry, value.bytes);
    const content = contentIn(read.contents, entry.key);
    if (content instanceof Uint8Array) return sendValue(response, entry, content);
    sendHead(response, entry, value.size);
    // Closes the file, also when the reader goes away.
    await pipeline(content.createReadStream(), exactly(value.size), response);
  }

  /** Resolves with how many keys were read. */
  async #bulkGet(
    namespace: NamespaceId,
    { freshness }: KvCall & { kind: "bulk-get" },
    { request, response }: { readonly request: IncomingMessage; readonly response: ServerResponse },
  ): Promise<number> {
    const bulk = parseBulkGet(await readText(request, LIMITS.bulkGetBodyBytesMax));
    const keys = [...new Set(bulk.keys)];
    await this.#readable(namespace, { keys, ...freshness }, response);
    checkBulkSize(keys.map((key) => this.#options.replica.get(namespace, key)));
    const { entries, contents, revision } = await this.#reader.read<Buffer>(
      { namespace, keys },
      {
        open: (content) => this.#options.values.readValue(content),
        close: () => Promise.resolve(),
      },
    );
    response.setHeader(REVISION_HEADER, revision);
    const results: Array<[string, unknown]> = [];
    for (const [index, key] of keys.entries()) {
      const entry = entries[index];
      if (entry === undefined) {
        results.push([key, null]);
        continue;
      }
      const { value, metadata } = entry;
      const bytes =
        value.kind === "inline" ? Buffer.from(value.bytes) : contentIn(contents, entry.key);
      results.push([key, bulkResult(bulk, bytes, metadata)]);
    }
    sendJson(response, Object.fromEntries(results));
    return results.length;
  }

  async #list(
    namespace: NamespaceId,
    call: KvCall & { kind: "list" },
    response: ServerResponse,
  ): Promise<void> {
    const { prefix } = call.options;
    await this.#readable(namespace, { prefix, ...call.freshness }, response);
    const { entries, cursor } = this.#options.replica.list(namespace, call.options);
    const keys = entries.map(({ key, expiresAt, metadata }) => ({
      name: key,
      ...(expiresAt === undefined ? {} : { expiration: expiresAt }),
      // The binding parses the metadata's text itself.
      ...(metadata === undefined ? {} : { metadata }),
    }));
    sendJson(response, {
      keys,
      list_complete: cursor === undefined,
      ...(cursor === undefined ? {} : { cursor }),
    });
  }

  async #put(
    namespace: NamespaceId,
    call: KvCall & { kind: "put" },
    exchange: { readonly request: IncomingMessage; readonly response: ServerResponse },
  ): Promise<void> {
    const { response } = exchange;
    const value = await this.#receive(exchange.request);
    const { conditions: _ours, ...put } = call;
    await this.#write(namespace, { operation: { ...put, value }, call, response });
  }

  async #write(
    namespace: NamespaceId,
    write: {
      readonly operation: KvOperation;
      readonly call: { readonly conditions: ReadonlyArray<KvCondition> };
      readonly response: ServerResponse;
    },
  ): Promise<void> {
    const { operation, call, response } = write;
    const revision = await this.#options.client.write(namespace, [operation], call.conditions);
    response.setHeader(REVISION_HEADER, revision);
    response.setHeader(ENTRY_REVISION_HEADER, operation.kind === "put" ? revision : 0);
    response.end();
  }

  /** Reads the body; a large one is stored for the whole fleet before its hash is written. */
  async #receive(request: IncomingMessage): Promise<KvValue> {
    const announcedBytes = Number(request.headers["content-length"] ?? Infinity);
    if (announcedBytes <= LIMITS.inlineValueBytesMax) return this.#receiveValue(request);
    if (this.#spills >= LIMITS.frontSpillsMax) {
      throw new KvError("busy", `${this.#spills} large values are being received already`);
    }
    this.#spills += 1;
    try {
      return await this.#receiveValue(request);
    } finally {
      this.#spills -= 1;
    }
  }

  async #receiveValue(request: IncomingMessage): Promise<KvValue> {
    const { values } = this.#options;
    const received = await receiveValue(bodyOf(request), values.incomingPath());
    if (received.kind === "inline") return received;
    const { hash, file } = received;
    await values.keep(hash, file);
    return { kind: "blob", hash, size: file.sizeBytes };
  }

  /** Waits until the copy is what the read wants, which must follow at once, and says what it is. */
  async #readable(
    namespace: NamespaceId,
    demand: ReadDemand,
    response: ServerResponse,
  ): Promise<void> {
    const { client } = this.#options;
    const waiting = client.readable(namespace, demand);
    if (waiting !== undefined) await waiting;
    const { revision, lagMs } = client.freshness(namespace);
    if (revision !== undefined) response.setHeader(REVISION_HEADER, revision);
    if (lagMs !== null) response.setHeader(LAG_HEADER, lagMs);
  }

  async #refuse(error: unknown, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const refusal = error instanceof KvError ? error : new KvError("internal", "internal error");
    if (request.socket.destroyed) return;
    if (refusal.code === "internal") this.#options.log.error({ err: error }, "a KV call failed");
    // Too late to say anything: a cut body shows that it is not complete.
    if (response.headersSent) return void response.destroy();
    // A client that is still sending would see a broken connection instead of the answer.
    if (!(await drain(request, LIMITS.frontDrainBytesMax))) return void response.destroy();
    // What was set for an answer that did not come to be.
    for (const name of response.getHeaderNames()) response.removeHeader(name);
    if (refusal.found !== undefined) response.setHeader(ENTRY_REVISION_HEADER, refusal.found);
    response.setHeader(CODE_HEADER, refusal.code);
    response.writeHead(refusal.status, reasonOf(refusal), { "content-type": "text/plain" });
    response.end(refusal.message);
  }
}

/** What was opened for an entry of the answer. */
function contentIn<Content>(contents: ReadonlyMap<Key, Content>, key: Key): Content {
  const content = contents.get(key);
  assert(content !== undefined, "an entry is answered whose value was not opened");
  return content;
}

function sendValue(response: ServerResponse, entry: HeldEntry, bytes: Uint8Array): void {
  sendHead(response, entry, bytes.length);
  response.end(bytes);
}

function sendAbsent(response: ServerResponse): void {
  response.setHeader(ENTRY_REVISION_HEADER, 0);
  response.writeHead(404).end();
}

function sendHead(
  response: ServerResponse,
  { metadata, revision }: HeldEntry,
  sizeBytes: number,
): void {
  if (revision !== undefined) response.setHeader(ENTRY_REVISION_HEADER, revision);
  // Callers of the API write metadata as any JSON text, with line breaks too.
  if (metadata !== undefined) response.setHeader(METADATA_HEADER, asciiJson(metadata));
  response.setHeader("content-length", sizeBytes);
}

/** Passes a body on; one that ends early or late cuts the answer, whose reader would wait for the rest. */
function exactly(sizeBytes: number): (body: AsyncIterable<Buffer>) => AsyncIterable<Buffer> {
  return async function* (body) {
    let bytes = 0;
    for await (const piece of body) {
      bytes += piece.length;
      if (bytes > sizeBytes) break;
      yield piece;
    }
    if (bytes === sizeBytes) return;
    throw new KvError(
      "value_unavailable",
      `a value of ${sizeBytes} bytes changed while it was read`,
    );
  };
}

/** The message as a reason phrase, which is one line of printable ASCII. */
function reasonOf({ message }: KvError): string {
  return message.replaceAll(/[^\x20-\x7e]/g, "?").slice(0, 500);
}

function sendJson(response: ServerResponse, content: unknown): void {
  const body = Buffer.from(JSON.stringify(content), "utf8");
  response.setHeader("content-type", "application/json");
  response.setHeader("content-length", body.length);
  response.end(body);
}
