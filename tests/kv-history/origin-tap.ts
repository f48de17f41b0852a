import { SqliteOrigin, systemClock, type Log, type NamespaceId } from "@atoll/kv-store";
import { tokenOf } from "./calls.ts";
import type { LoggedWrite } from "./history.ts";

// Often against the log's horizon of 10,000 records, rarely against the cost of looking.
const POLL_MS = 250;
const log: Log = { info: () => {}, warn: () => {}, error: (fields) => console.error(fields) };

export interface OriginTapOptions {
  /** The database of a control plane, which goes on using it. */
  readonly path: string;
  readonly namespace: NamespaceId;
  /** The token of a value that is known by its hash. */
  readonly tokenOfHash: (hash: string) => string;
}

type Point = Awaited<ReturnType<SqliteOrigin["point"]>>;

/** Reads along in what the origin orders, before its log forgets it. */
export class OriginTap {
  readonly writes: LoggedWrite[] = [];
  readonly #options: OriginTapOptions;
  readonly #timer: NodeJS.Timeout;
  #origin: SqliteOrigin | undefined;
  #point: Point;
  #failure: unknown;
  /** Reads, one after another. Never rejected. */
  #reading: Promise<void> = Promise.resolve();

  /** Begins with the next write of the namespace. */
  static async open(options: OriginTapOptions): Promise<OriginTap> {
    const origin = SqliteOrigin.open({ path: options.path, clock: systemClock, log });
    return new OriginTap(options, { origin, point: await origin.point(options.namespace) });
  }

  private constructor(
    options: OriginTapOptions,
    start: { readonly origin: SqliteOrigin; readonly point: Point },
  ) {
    this.#options = options;
    this.#origin = start.origin;
    this.#point = start.point;
    this.#timer = setInterval(() => this.#read(), POLL_MS);
  }

  /**
   * Closes the database, so that a control plane that is killed leaves it to nobody: its next start has to
   * recover it alone.
   */
  async pause(): Promise<void> {
    await this.#reading;
    await this.#origin?.close();
    this.#origin = undefined;
  }

  resume(): void {
    const { path } = this.#options;
    this.#origin ??= SqliteOrigin.open({ path, clock: systemClock, log });
  }

  /** Reads to the end. Rejected when the log was cut before it was read, or can't be read. */
  async catchUp(): Promise<void> {
    this.#read();
    await this.#reading;
    if (this.#failure !== undefined) throw this.#failure;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.pause();
  }

  #read(): void {
    this.#reading = this.#reading
      .then(() => this.#readOn())
      .catch((error: unknown) => {
        this.#failure = error;
      });
  }

  async #readOn(): Promise<void> {
    const origin = this.#origin;
    if (origin === undefined || this.#failure !== undefined) return;
    for (;;) {
      const page = await origin.readLog(this.#options.namespace, this.#point);
      if (page.kind !== "records") {
        throw new Error(`the log is ${page.kind} after revision ${this.#point.revision}`);
      }
      for (const { revision, digest, operation } of page.records) {
        this.#point = { revision, digest };
        const value = operation.kind === "delete" ? null : this.#tokenOf(operation.value);
        this.writes.push({ revision, key: operation.key, value });
      }
      if (page.records.length === 0) return;
    }
  }

  #tokenOf(value: { readonly bytes: Uint8Array } | { readonly hash: string }): string {
    if ("hash" in value) return this.#options.tokenOfHash(value.hash);
    return tokenOf(Buffer.from(value.bytes).toString());
  }
}
