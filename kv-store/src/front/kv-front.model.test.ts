import { mkdtemp, readFile, rm } from "node:fs/promises";
import { request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import fc from "fast-check";
import { expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { NamespaceId } from "../names.ts";
import { LmdbReplica } from "../replica/lmdb-replica.ts";
import { ManualClock } from "../test-support/manual-clock.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import { TrackedState } from "../test-support/tracked-state.ts";
import { ValueCache } from "../values/value-cache.ts";
import { CAPABILITY_HEADER, KvFront } from "./kv-front.ts";

const NAMESPACE = NamespaceId.parse("a".repeat(32));
// Prefixes of each other, every kind of character that has its own place in a URL, and both sides of the
// point where the order of UTF-16 is not that of bytes.
const KEYS = ["a", "a/", "a/b", "a b", "a%2Fb", "a?b", "b#", "ü", "\ufffd", "\u{10000}", "\n"];
const PREFIXES = ["", "a", "a/", "ü", "c"];

type Step =
  | {
      readonly kind: "put";
      readonly key: string;
      readonly value: string;
      readonly metadata: string | undefined;
      /** Seconds from now; as a TTL or as a date. */
      readonly expiry: { readonly by: "ttl" | "date"; readonly seconds: number } | undefined;
    }
  | { readonly kind: "delete" | "get"; readonly key: string }
  | {
      readonly kind: "bulk-get";
      readonly keys: ReadonlyArray<string>;
      readonly withMetadata: boolean;
    }
  | { readonly kind: "list"; readonly prefix: string; readonly limit: number }
  /** Goes on with the listing before, whatever happened since. */
  | { readonly kind: "list-on"; readonly limit: number }
  | { readonly kind: "pass"; readonly seconds: number }
  | { readonly kind: "restart" };

const key = fc.constantFrom(...KEYS);
const limit = fc.integer({ min: 1, max: 4 });
const text = fc.oneof(
  { weight: 8, arbitrary: fc.string({ unit: "grapheme", maxLength: 20 }) },
  { weight: 1, arbitrary: fc.constantFrom(1, 2).map((more) => large(more)) },
);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("put" as const),
      key,
      value: text,
      metadata: fc.option(fc.json({ maxDepth: 1, stringUnit: "grapheme" }), { nil: undefined }),
      expiry: fc.option(
        fc.record({
          by: fc.constantFrom("ttl" as const, "date" as const),
          // Both sides of the least that is allowed, and of now.
          seconds: fc.constantFrom(-1, 0, 1, 59, 60, 61, 120),
        }),
        { nil: undefined },
      ),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("delete" as const), key }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("get" as const), key }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("bulk-get" as const),
      keys: fc.array(key, { minLength: 1, maxLength: 5 }),
      withMetadata: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("list" as const),
      prefix: fc.constantFrom(...PREFIXES),
      limit,
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("list-on" as const), limit }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("pass" as const),
      seconds: fc.constantFrom(1, 30, 59, 60, 61),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("restart" as const) }) },
);

/** A value that is one byte more than what travels inline, or two. */
function large(more: number): string {
  return "l".repeat(LIMITS.inlineValueBytesMax + more);
}

interface Held {
  readonly value: string;
  readonly metadata: string | undefined;
  readonly expiresAt: number | undefined;
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

interface Page {
  readonly keys: ReadonlyArray<{
    readonly name: string;
    readonly expiration?: number;
    readonly metadata?: string;
  }>;
  readonly list_complete: boolean;
  readonly cursor?: string;
}

/** A front with all that is behind it, and a map that says what it should answer. */
class World {
  readonly #map = new Map<string, Held>();
  readonly #clock = new ManualClock();
  readonly #log = new RecordedLog();
  readonly #state = new TrackedState();
  readonly #stored = new Map<string, Buffer>();
  readonly #directory: string;
  #replica!: LmdbReplica; // set by `create`
  #values!: ValueCache;
  #front!: KvFront;
  /** The listing that is under way: its prefix, cursor, and the last key that it showed. */
  #listing: { readonly prefix: string; readonly cursor: string; readonly last: string } | undefined;

  static async create(): Promise<World> {
    const world = new World(await mkdtemp(join(tmpdir(), "atoll-front-model-")));
    await world.#start();
    const { point } = world.#state;
    await world.#replica.store(NAMESPACE, { kind: "snapshot-start", ...point });
    await world.#replica.store(NAMESPACE, { kind: "snapshot-end", ...point, through: null });
    return world;
  }

  private constructor(directory: string) {
    this.#directory = directory;
  }

  async take(taken: Step): Promise<void> {
    switch (taken.kind) {
      case "put":
        return this.#put(taken);
      case "delete":
        expect(await this.#call("DELETE", pathOf(taken.key))).toMatchObject({ status: 200 });
        this.#map.delete(taken.key);
        return;
      case "get":
        return this.#get(taken.key);
      case "bulk-get":
        return this.#bulkGet(taken);
      case "list":
        return this.#list(taken.prefix, taken.limit, undefined);
      case "list-on":
        if (this.#listing === undefined) return;
        return this.#list(this.#listing.prefix, taken.limit, this.#listing);
      case "pass":
        this.#clock.advance(taken.seconds * 1_000);
        return this.#hearOrigin();
      case "restart":
        await this.#stop();
        return this.#start();
    }
  }

  async dispose(): Promise<void> {
    await this.#stop();
    await rm(this.#directory, { recursive: true });
    expect(this.#log.lines.filter((line) => line.startsWith("error"))).toEqual([]);
  }

  async #put({ key: name, value, metadata, expiry }: Step & { kind: "put" }): Promise<void> {
    const nowSeconds = this.#nowSeconds();
    const date = expiry === undefined ? undefined : nowSeconds + expiry.seconds;
    const query =
      expiry === undefined
        ? ""
        : expiry.by === "ttl"
          ? `&expiration_ttl=${expiry.seconds}`
          : `&expiration=${date}`;
    const answer = await this.#call("PUT", pathOf(name) + query, { body: value, metadata });
    const isTooSoon = expiry !== undefined && expiry.seconds < LIMITS.expirationTtlSecondsMin;
    const isTooLong =
      metadata !== undefined && Buffer.byteLength(metadata) > LIMITS.metadataBytesMax;
    expect(answer.status).toBe(isTooSoon ? 400 : isTooLong ? 413 : 200);
    if (answer.status === 200) this.#map.set(name, { value, metadata, expiresAt: date });
  }

  async #get(name: string): Promise<void> {
    const { status, headers, body } = await this.#call("GET", pathOf(name));
    const held = this.#live(name);
    expect(status).toBe(held === undefined ? 404 : 200);
    if (held === undefined) return;
    expect(body === held.value).toBe(true);
    expect(parsed(headers["cf-kv-metadata"])).toEqual(parsed(held.metadata));
  }

  async #bulkGet({ keys, withMetadata }: Step & { kind: "bulk-get" }): Promise<void> {
    const body = JSON.stringify({ keys, withMetadata });
    const answer = await this.#call("POST", "/bulk/get", { body });
    const expected = keys.map((name): [string, unknown] => {
      const held = this.#live(name);
      if (held === undefined || !withMetadata) return [name, held?.value ?? null];
      return [name, { value: held.value, metadata: parsed(held.metadata) ?? null }];
    });
    expect(answer.status).toBe(200);
    expect(JSON.parse(answer.body)).toEqual(Object.fromEntries(expected));
  }

  async #list(
    prefix: string,
    keysMax: number,
    after: { readonly cursor: string; readonly last: string } | undefined,
  ): Promise<void> {
    const query = new URLSearchParams({ prefix, key_count_limit: String(keysMax) });
    if (after !== undefined) query.set("cursor", after.cursor);
    const answer = await this.#call("GET", `/?${query.toString()}`);
    expect(answer.status).toBe(200);
    const page = JSON.parse(answer.body) as Page;
    const left = [...this.#map.keys()]
      .filter((name) => name.startsWith(prefix) && this.#live(name) !== undefined)
      .filter((name) => after === undefined || byBytes(name, after.last) > 0)
      .toSorted(byBytes);
    const expected = left.slice(0, keysMax).map((name) => {
      const { expiresAt, metadata } = this.#map.get(name) ?? {};
      return {
        name,
        ...(expiresAt === undefined ? {} : { expiration: expiresAt }),
        ...(metadata === undefined ? {} : { metadata }),
      };
    });
    expect(page.keys).toEqual(expected);
    expect(page.list_complete).toBe(page.cursor === undefined);
    if (page.list_complete) expect(left.length).toBe(expected.length);
    // What follows may be keys that have expired: whether any is live is the next page's business.
    else expect(expected.length).toBe(keysMax);
    const last = expected.at(-1)?.name;
    this.#listing =
      page.cursor === undefined || last === undefined
        ? undefined
        : { prefix, cursor: page.cursor, last };
  }

  #live(name: string): Held | undefined {
    const held = this.#map.get(name);
    const isLive = held?.expiresAt === undefined || held.expiresAt > this.#nowSeconds();
    return isLive ? held : undefined;
  }

  #nowSeconds(): number {
    return Math.floor(this.#clock.nowMs() / 1_000);
  }

  async #start(): Promise<void> {
    const [clock, log] = [this.#clock, this.#log];
    const directory = join(this.#directory, "replica");
    this.#replica = await LmdbReplica.open({ directory, clock, log });
    this.#values = await ValueCache.open({
      directory: join(this.#directory, "values"),
      blobs: {
        fetch: async ({ hash }) => {
          const content = this.#stored.get(hash);
          return content && Readable.from([content]);
        },
        store: async (hash, file) => void this.#stored.set(hash, await readFile(file.path)),
      },
      clock,
      log,
    });
    this.#front = new KvFront({
      socketPath: this.#socketPath,
      resolveCapability: () => NAMESPACE,
      replica: this.#replica,
      // The way to the origin has tests of its own.
      client: {
        write: async (namespace, operations) => {
          const after = this.#state.point.revision;
          const point = this.#state.apply(operations);
          await this.#replica.store(namespace, { kind: "batch", after, ...point, operations });
          return point.revision;
        },
        readable: () => undefined,
        freshness: (namespace) => ({ revision: this.#replica.revision(namespace), lagMs: 0 }),
      },
      values: this.#values,
      clock,
      log,
    });
    await this.#front.listen();
    this.#hearOrigin();
  }

  /** What expires does so by the origin's time. */
  #hearOrigin(): void {
    this.#replica.heard({ originMs: this.#clock.nowMs(), echoMs: this.#clock.monotonicMs() });
  }

  async #stop(): Promise<void> {
    await this.#front.close();
    await this.#values.close();
    await this.#replica.close();
  }

  get #socketPath(): string {
    return join(this.#directory, "kv.sock");
  }

  #call(
    method: string,
    path: string,
    sent: { readonly body?: string; readonly metadata?: string | undefined } = {},
  ): Promise<Answer> {
    const headers: Record<string, string> = { [CAPABILITY_HEADER]: "any" };
    // As the binding sends it: bytes of UTF-8.
    if (sent.metadata !== undefined) {
      headers["cf-kv-metadata"] = Buffer.from(sent.metadata).toString("latin1");
    }
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const options = { socketPath: this.#socketPath, method, path, headers };
    const outgoing = httpRequest(options, (response) => {
      const pieces: Buffer[] = [];
      response.on("data", (piece: Buffer) => pieces.push(piece));
      response.on("error", reject);
      response.on("end", () => {
        const body = Buffer.concat(pieces).toString();
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body });
      });
    });
    outgoing.on("error", reject);
    outgoing.end(sent.body === undefined ? undefined : Buffer.from(sent.body));
    return promise;
  }
}

function pathOf(name: string): string {
  return `/${encodeURIComponent(name)}?urlencoded=true`;
}

function byBytes(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other));
}

function parsed(json: string | string[] | undefined): unknown {
  return json === undefined ? undefined : JSON.parse(String(json));
}

test("KvFront: any sequence of calls is answered as by a map whose entries expire", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (taken) => {
      const world = await World.create();
      try {
        for (const each of taken) await world.take(each);
      } finally {
        await world.dispose();
      }
    }),
    // Each run opens a replica: enough to meet every pair of steps.
    { numRuns: 60, endOnFailure: true },
  );
}, 120_000);
