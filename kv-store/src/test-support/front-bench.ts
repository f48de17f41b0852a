import { mkdtemp, readFile, rm } from "node:fs/promises";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import type { KvCondition } from "../entry.ts";
import { KvError } from "../errors.ts";
import type { DailyUse } from "../front/daily-refusal.ts";
import { CAPABILITY_HEADER, KvFront, type KvClient, type KvUse } from "../front/kv-front.ts";
import { NamespaceId } from "../names.ts";
import { LmdbReplica } from "../replica/lmdb-replica.ts";
import type { ReadDemand } from "../replication/read-demand.ts";
import { ValueCache } from "../values/value-cache.ts";
import { ManualClock } from "./manual-clock.ts";
import { RecordedLog } from "./recorded-log.ts";
import { TrackedState } from "./tracked-state.ts";

/** What the capability `good` is for, and what `absent` is for, of which the node has nothing. */
export const NAMESPACE = NamespaceId.parse("a".repeat(32));
const ABSENT = NamespaceId.parse("b".repeat(32));
/** A revision that never comes. */
export const NEVER = 999;

export interface Call {
  readonly method?: string;
  readonly path: string;
  readonly body?: string | Buffer;
  readonly headers?: Readonly<Record<string, string>>;
  readonly capability?: string;
}

export interface HttpAnswer {
  readonly status: number;
  readonly reason: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

/** A front over a real replica and real files, whose writes go straight to the replica. */
export class FrontBench {
  readonly directory: string;
  readonly socketPath: string;
  readonly log = new RecordedLog();
  readonly clock = new ManualClock();
  /** The large values of the fleet, by hash. */
  readonly stored = new Map<string, Buffer>();
  /** Happens while a value is fetched. */
  onFetch: () => Promise<void> = () => Promise.resolve();
  /** What was told of calls that succeeded. */
  readonly uses: Array<readonly [capability: string, use: KvUse, count: number]> = [];
  /** Set by a test that wants writes to fail. */
  writeError: unknown;
  /** What the last write, and the last read, asked for. */
  conditions: ReadonlyArray<KvCondition> = [];
  demand: ReadDemand = {};
  /** How old the copy says that it is. */
  lagMs: number | null = 12;
  replica!: LmdbReplica; // set by `open`
  front!: KvFront; // set by `open`
  #values!: ValueCache; // set by `open`
  readonly #state = new TrackedState();

  /** The bounds by day of which nothing is left. */
  usedUp: Partial<Record<DailyUse, number>> = {};

  /** The way to the origin has its own tests. */
  readonly client: KvClient = {
    write: async (namespace, operations, asked) => {
      this.conditions = asked;
      if (this.writeError !== undefined) throw this.writeError;
      const after = this.#state.point.revision;
      const point = this.#state.apply(operations);
      await this.replica.store(namespace, { kind: "batch", after, ...point, operations });
      return point.revision;
    },
    readable: (namespace, asked) => {
      this.demand = asked;
      const isHere = this.replica.revision(namespace) !== undefined && asked.minRevision !== NEVER;
      return isHere ? undefined : Promise.reject(new KvError("replica_behind", "not here yet"));
    },
    freshness: (namespace) => ({ revision: this.replica.revision(namespace), lagMs: this.lagMs }),
  };

  private constructor(directory: string) {
    this.directory = directory;
    this.socketPath = join(directory, "kv.sock");
  }

  static async open(): Promise<FrontBench> {
    const bench = new FrontBench(await mkdtemp(join(tmpdir(), "atoll-front-")));
    await bench.#open();
    return bench;
  }

  async #open(): Promise<void> {
    const { directory, socketPath, clock, log, client } = this;
    const replica = await LmdbReplica.open({ directory: join(directory, "replica"), clock, log });
    this.replica = replica;
    await replica.store(NAMESPACE, { kind: "snapshot-start", ...this.#state.point });
    await replica.store(NAMESPACE, { kind: "snapshot-end", ...this.#state.point, through: null });
    const values = await this.#openValues();
    this.#values = values;
    this.front = new KvFront({
      socketPath,
      resolveCapability: (capability) =>
        ({ good: NAMESPACE, absent: ABSENT })[capability] ?? undefined,
      onUse: (...use) => this.uses.push(use),
      usedUp: (_, use) => this.usedUp[use],
      ...{ replica, client, values, clock, log },
    });
    await this.front.listen();
  }

  #openValues(): Promise<ValueCache> {
    const { stored, directory, clock, log } = this;
    const blobs = {
      fetch: async ({ hash }: { hash: string }) => {
        await this.onFetch();
        const content = stored.get(hash);
        return content && Readable.from([content]);
      },
      store: async (hash: string, file: { path: string }) =>
        void stored.set(hash, await readFile(file.path)),
    };
    return ValueCache.open({ directory: join(directory, "values"), blobs, clock, log });
  }

  async close(): Promise<void> {
    await this.front.close();
    await this.#values.close();
    await this.replica.close();
    await rm(this.directory, { recursive: true });
  }

  call({ method = "GET", path, body, headers, capability = "good" }: Call): Promise<HttpAnswer> {
    const { socketPath } = this;
    const fields = { ...headers, [CAPABILITY_HEADER]: capability };
    return new Promise((resolve, reject) => {
      const outgoing = httpRequest({ socketPath, method, path, headers: fields }, (response) => {
        const pieces: Buffer[] = [];
        response.on("data", (piece: Buffer) => pieces.push(piece));
        response.on("end", () =>
          resolve({
            status: response.statusCode ?? 0,
            reason: response.statusMessage ?? "",
            headers: response.headers,
            body: Buffer.concat(pieces).toString(),
          }),
        );
        response.on("error", reject);
      });
      outgoing.on("error", reject);
      // As bytes: Node would write the head of a request with a text body as UTF-8, too.
      outgoing.end(body === undefined ? undefined : Buffer.from(body));
    });
  }

  /** What the server says to bytes that no client of ours would send. */
  callRaw(text: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect(this.socketPath, () => socket.write(text));
      let answer = "";
      socket.on("data", (piece: Buffer) => (answer += piece.toString()));
      socket.on("close", () => resolve(answer));
      socket.on("error", reject);
    });
  }

  putAt(path: string, body: string | Buffer): Promise<HttpAnswer> {
    return this.call({ method: "PUT", path: `${path}?urlencoded=true`, body });
  }
}
