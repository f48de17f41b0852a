import assert from "node:assert/strict";
import type { FileHandle } from "node:fs/promises";
import type { Clock } from "../clock.ts";
import type { Key, KvCondition, KvOperation, KvValue } from "../entry.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Log } from "../log.ts";
import { Revision, type NamespaceId } from "../names.ts";
import { isRemovable } from "../replica/partial-entry.ts";
import type { Replica } from "../replica/replica.ts";
import type { CopyState, ReadDemand } from "../replication/read-demand.ts";
import type { ValueCache } from "../values/value-cache.ts";
import { receiveValue } from "../values/value-intake.ts";
import { bulkResult, checkBulkSize, parseBulkGet } from "./bulk-get.ts";
import { dailyRefusal, type DailyUse } from "./daily-refusal.ts";
import { EntryReader, type EntriesRead } from "./entry-reader.ts";
import type { Answer } from "./http/answer.ts";
import type { Exchange } from "./http/http-connection.ts";
import { HttpServer } from "./http/http-server.ts";
import {
  answerAbsent,
  answerEntry,
  answerJson,
  answerWritten,
  refusalOf,
  type ReadState,
} from "./kv-answer.ts";
import { parseCall, type KvCall } from "./kv-call.ts";

/** Header by which a cell shows which namespace it may use; workerd injects it, tenants never see it. */
export const CAPABILITY_HEADER = "x-atoll-kv";

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

/** Whose call it is. */
interface Caller {
  readonly capability: string;
  readonly namespace: NamespaceId;
}

/** An answer, and what it was the answer to. */
interface Served {
  readonly answer: Answer;
  readonly use: KvUse;
  /** How many keys were read. */
  readonly count?: number;
}

export interface KvFrontOptions {
  /** Where to listen. A socket that an earlier run left there is replaced. */
  readonly socketPath: string;
  /** The namespace behind a capability; `undefined` for one that nobody was given. */
  readonly resolveCapability: (capability: string) => NamespaceId | undefined;
  /** Told of each call that succeeded, with how many keys it read. Must be cheap and must not throw. */
  readonly onUse?: (capability: string, use: KvUse, count: number) => void;
  /** How much of a day a caller had, once it has used that up. Must be cheap and must not throw. */
  readonly usedUp?: (capability: string, use: DailyUse) => number | undefined;
  readonly replica: Replica;
  readonly client: KvClient;
  readonly values: ValueCache;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Answers workerd's native KV binding on a node: reads from the node's replica, writes through its client.
 * Errors are told in the reason phrase, because that is what the binding shows to the worker.
 */
export class KvFront {
  readonly #options: KvFrontOptions;
  readonly #server: HttpServer;
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
    const handler = {
      serve: (exchange: Exchange) => this.#serve(exchange),
      refusal: refusalOf,
    };
    this.#server = new HttpServer({ handler, clock: options.clock });
  }

  /** Resolves when it listens. */
  async listen(): Promise<void> {
    await this.#server.listen(this.#options.socketPath);
  }

  /** Stops listening and closes every connection. May be called twice. */
  async close(): Promise<void> {
    await this.#server.close();
  }

  #serve(exchange: Exchange): Promise<void> | undefined {
    this.#requests += 1;
    try {
      const serving = this.#answer(exchange);
      if (serving !== undefined) return this.#end(exchange, serving);
      this.#requests -= 1;
      return undefined;
    } catch (error) {
      return this.#end(exchange, Promise.reject(error));
    }
  }

  /** Never rejected. */
  async #end(exchange: Exchange, serving: Promise<void>): Promise<void> {
    try {
      await serving;
    } catch (error) {
      const refusal = error instanceof KvError ? error : new KvError("internal", "internal error");
      if (refusal.code === "internal") this.#options.log.error({ err: error }, "a KV call failed");
      await exchange.answer(refusalOf(refusal));
    } finally {
      this.#requests -= 1;
    }
  }

  #answer(exchange: Exchange): Promise<void> | undefined {
    const caller = this.#callerOf(exchange);
    const call = parseCall(exchange.head, () => this.#options.replica.originNowMs());
    const served =
      call.kind === "get" ? this.#get(caller, call) : this.#call(caller, call, exchange);
    if (!(served instanceof Promise)) return this.#send(exchange, caller, served);
    return served.then((later) => this.#send(exchange, caller, later));
  }

  #send(
    exchange: Exchange,
    { capability }: Caller,
    { answer, use, count = 1 }: Served,
  ): Promise<void> | undefined {
    const tell = (): void => this.#options.onUse?.(capability, use, count);
    const sending = exchange.answer(answer);
    if (sending !== undefined) return sending.then(tell);
    tell();
    return undefined;
  }

  #callerOf({ head }: Exchange): Caller {
    if (this.#requests > LIMITS.frontRequestsMax) {
      throw new KvError("busy", `${this.#requests - 1} requests are being served already`);
    }
    const capability = head.fields.get(CAPABILITY_HEADER);
    if (capability !== undefined) {
      const namespace = this.#options.resolveCapability(capability);
      if (namespace !== undefined) return { capability, namespace };
    }
    throw new KvError("capability_unknown", "This caller was given no namespace");
  }

  async #call(
    { capability, namespace }: Caller,
    call: Exclude<KvCall, { kind: "get" }>,
    { head, body }: Exchange,
  ): Promise<Served> {
    switch (call.kind) {
      case "bulk-get":
        this.#requireLeft(capability, "read");
        return { use: "read", ...(await this.#bulkGet(namespace, call, body)) };
      case "list":
        this.#requireLeft(capability, "list");
        return { use: "list", answer: await this.#list(namespace, call) };
      case "put": {
        const value = await this.#receive(head, body);
        const { conditions, ...put } = call;
        const answer = await this.#write(namespace, { ...put, value }, conditions);
        return { use: "write", answer };
      }
      case "delete": {
        const { conditions, ...operation } = call;
        return { use: "delete", answer: await this.#write(namespace, operation, conditions) };
      }
    }
  }

  #requireLeft(capability: string, use: DailyUse): void {
    const bound = this.#options.usedUp?.(capability, use);
    if (bound !== undefined) throw dailyRefusal(use, bound);
  }

  /** In this turn whenever the copy is fresh enough and has the value: promises would cost as much as the read. */
  #get(
    { capability, namespace }: Caller,
    call: KvCall & { kind: "get" },
  ): Served | Promise<Served> {
    this.#requireLeft(capability, "read");
    const waiting = this.#readable(namespace, { keys: [call.key], ...call.freshness });
    return waiting === undefined
      ? this.#read(namespace, call)
      : waiting.then(() => this.#read(namespace, call));
  }

  #read(
    namespace: NamespaceId,
    { key, isBinding }: KvCall & { kind: "get" },
  ): Served | Promise<Served> {
    const held = this.#options.replica.get(namespace, key);
    const state = isBinding ? undefined : this.#stateOf(namespace);
    if (held === undefined) return { use: "read", answer: answerAbsent(state) };
    if (held.value.kind !== "inline") return this.#fetch(namespace, key, { isBinding });
    return { use: "read", answer: answerEntry(state, held, held.value.bytes) };
  }

  /** Reads a value that is not in the replica. */
  async #fetch(
    namespace: NamespaceId,
    key: Key,
    caller: { readonly isBinding: boolean },
  ): Promise<Served> {
    return { use: "read", answer: await this.#answerFetched(namespace, key, caller) };
  }

  async #answerFetched(
    namespace: NamespaceId,
    key: Key,
    { isBinding }: { readonly isBinding: boolean },
  ): Promise<Answer> {
    const { values } = this.#options;
    const read = await this.#reader.read<Buffer | FileHandle>(
      { namespace, keys: [key] },
      {
        open: (content) =>
          content.place === undefined ? values.openValue(content) : values.readValue(content),
        close: async (content) => void (content instanceof Uint8Array || (await content.close())),
      },
    );
    const asOf = isBinding ? undefined : this.#stateAsOf(namespace, read);
    const [entry] = read.entries;
    if (entry === undefined) return answerAbsent(asOf);
    const { value } = entry;
    if (value.kind === "inline") return answerEntry(asOf, entry, value.bytes);
    const content = contentIn(read.contents, entry.key);
    if (content instanceof Uint8Array) return answerEntry(asOf, entry, content);
    // The stream closes the file, also when it is given up.
    return answerEntry(asOf, entry, { stream: content.createReadStream(), sizeBytes: value.size });
  }

  async #bulkGet(
    namespace: NamespaceId,
    { freshness }: KvCall & { kind: "bulk-get" },
    body: Exchange["body"],
  ): Promise<Pick<Served, "answer" | "count">> {
    const bulk = parseBulkGet(await body.text(LIMITS.bulkGetBodyBytesMax));
    const keys = [...new Set(bulk.keys)];
    await this.#readable(namespace, { keys, ...freshness });
    const read = await this.#reader.read<Buffer>(
      { namespace, keys },
      {
        open: (content) => this.#options.values.readValue(content),
        check: checkBulkSize,
        close: () => Promise.resolve(),
      },
    );
    const results: Array<[string, unknown]> = [];
    for (const [index, key] of keys.entries()) {
      const entry = read.entries[index];
      if (entry === undefined) {
        results.push([key, null]);
        continue;
      }
      const { value, metadata } = entry;
      const bytes =
        value.kind === "inline" ? Buffer.from(value.bytes) : contentIn(read.contents, entry.key);
      results.push([key, bulkResult(bulk, bytes, metadata)]);
    }
    const answer = answerJson(this.#stateAsOf(namespace, read), Object.fromEntries(results));
    return { answer, count: results.length };
  }

  async #list(namespace: NamespaceId, call: KvCall & { kind: "list" }): Promise<Answer> {
    const { prefix } = call.options;
    await this.#readable(namespace, { prefix, ...call.freshness });
    const state = this.#stateOf(namespace);
    const { entries, cursor } = this.#options.replica.list(namespace, call.options);
    const keys = entries.map(({ key, expiresAt, metadata }) => ({
      name: key,
      ...(expiresAt === undefined ? {} : { expiration: expiresAt }),
      // The binding parses the metadata's text itself.
      ...(metadata === undefined ? {} : { metadata }),
    }));
    return answerJson(state, {
      keys,
      list_complete: cursor === undefined,
      ...(cursor === undefined ? {} : { cursor }),
    });
  }

  async #write(
    namespace: NamespaceId,
    operation: KvOperation,
    conditions: ReadonlyArray<KvCondition>,
  ): Promise<Answer> {
    const { client, replica, values } = this.#options;
    const revision = await client.write(namespace, [operation], conditions);
    if (isRemovable(operation) && replica.extent(namespace).isPartial) {
      await values.keepWritten(operation.value.bytes);
    }
    return answerWritten(revision, operation);
  }

  /** Reads the body; a large one is stored for the whole fleet before its hash is written. */
  async #receive(head: Exchange["head"], body: Exchange["body"]): Promise<KvValue> {
    const announcedBytes = head.framing.kind === "length" ? head.framing.bytes : Infinity;
    if (announcedBytes <= LIMITS.inlineValueBytesMax) return this.#receiveValue(body);
    if (this.#spills >= LIMITS.frontSpillsMax) {
      throw new KvError("busy", `${this.#spills} large values are being received already`);
    }
    this.#spills += 1;
    try {
      return await this.#receiveValue(body);
    } finally {
      this.#spills -= 1;
    }
  }

  async #receiveValue(body: Exchange["body"]): Promise<KvValue> {
    const { values } = this.#options;
    const received = await receiveValue(body, values.incomingPath());
    if (received.kind === "inline") return received;
    const { hash, file } = received;
    await values.keep(hash, file);
    return { kind: "blob", hash, size: file.sizeBytes };
  }

  /** Waits until the copy is what the read wants, which must follow at once; `undefined` when it is so now. */
  #readable(namespace: NamespaceId, demand: ReadDemand): Promise<void> | undefined {
    return this.#options.client.readable(namespace, demand);
  }

  #stateOf(namespace: NamespaceId): ReadState {
    return this.#options.client.freshness(namespace);
  }

  /** Of what was read with its values: the copy has grown older while they were fetched. */
  #stateAsOf(
    namespace: NamespaceId,
    { revision, isCurrent }: Pick<EntriesRead<unknown>, "revision" | "isCurrent">,
  ): ReadState {
    // How old what was replaced since had become is not known.
    return { revision, lagMs: isCurrent ? this.#stateOf(namespace).lagMs : null };
  }
}

/** What was opened for an entry of the answer. */
function contentIn<Content>(contents: ReadonlyMap<Key, Content>, key: Key): Content {
  const content = contents.get(key);
  assert(content !== undefined, "an entry is answered whose value was not opened");
  return content;
}
