import { randomBytes } from "node:crypto";
import type { Clock } from "@atoll/kv-store";
import { Client, type Notification } from "pg";
import { LIMITS } from "../limits.ts";
import type { DatabaseLog } from "./postgres-connections.ts";

/** What control planes tell each other: the desired state changed; what is shared of nodes did. */
const TOPICS = ["state", "nodes"] as const;
export type Topic = (typeof TOPICS)[number];

const CHANNEL = "atoll_control_plane";
/** From whom, and what. */
const PAYLOAD = /^([0-9a-f]{16}) (state|nodes)$/;

/**
 * Tells the other control planes on a database that something changed, and hears of it from them, with the
 * database's notifications. They are hints: each says only that it is worth a look, one that is lost
 * costs the time to the next look, and after a connection was lost everything is looked at once. On one
 * connection, which is made again by itself.
 */
export class PostgresSignals {
  readonly #options: {
    readonly url: string;
    readonly clock: Clock;
    readonly log: DatabaseLog;
  };
  readonly #sender = randomBytes(8).toString("hex");
  readonly #listeners = new Map<Topic, Set<() => void>>();
  readonly #stopReconnecting: () => void;
  readonly #queued = new Set<Topic>();
  #client: Client | undefined;
  #connecting: Promise<void> | undefined;
  #sending: Promise<void> | undefined;
  #isClosed = false;

  constructor(options: { readonly url: string; readonly clock: Clock; readonly log: DatabaseLog }) {
    this.#options = options;
    this.#stopReconnecting = options.clock.every(LIMITS.stateLookMs, () => this.#connect());
    this.#connect();
  }

  /** Calls back when another control plane told of it, and after each new connection. */
  on(topic: Topic, listener: () => void): void {
    const listeners = this.#listeners.get(topic) ?? new Set();
    this.#listeners.set(topic, listeners.add(listener));
  }

  /** Returns at once. Several before they are sent are one. */
  tell(topic: Topic): void {
    if (this.#client === undefined) return;
    this.#queued.add(topic);
    this.#sending ??= this.#send(this.#client).finally(() => {
      this.#sending = undefined;
    });
  }

  /** May be called twice. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#stopReconnecting();
    await this.#connecting;
    await this.#sending;
    await this.#client?.end();
  }

  #connect(): void {
    if (this.#client !== undefined || this.#isClosed) return;
    this.#connecting ??= this.#open().finally(() => {
      this.#connecting = undefined;
    });
  }

  async #open(): Promise<void> {
    const client = new Client({
      connectionString: this.#options.url,
      connectionTimeoutMillis: LIMITS.databaseConnectMs,
      query_timeout: LIMITS.databaseAnswerMs,
      keepAlive: true,
      application_name: "atoll-control-plane",
    });
    client.on("error", () => {}); // `end` follows, and is what counts
    client.on("end", () => this.#lost(client));
    client.on("notification", (notification) => this.#onNotification(notification));
    try {
      await client.connect();
      // A notification is lost with its server anyway: it need not wait for the disk.
      await client.query(`SET synchronous_commit = off; LISTEN ${CHANNEL}`);
      this.#client = client;
      for (const topic of TOPICS) this.#call(topic);
    } catch {
      // The next turn of the clock tries again; that the database is away, its other connections say.
      await client.end();
    }
  }

  #lost(client: Client): void {
    if (this.#client === client) this.#client = undefined;
  }

  async #send(client: Client): Promise<void> {
    while (this.#queued.size > 0 && this.#client === client) {
      const payloads = [...this.#queued].map((topic) => `${this.#sender} ${topic}`);
      this.#queued.clear();
      try {
        const text = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload";
        await client.query(text, [CHANNEL, payloads]);
      } catch (err) {
        // The others' next look finds out. A connection that does not answer is replaced.
        this.#options.log.warn({ err }, "other control planes could not be told of a change");
        this.#lost(client);
        await client.end();
      }
    }
    this.#queued.clear();
  }

  #onNotification({ channel, payload }: Notification): void {
    const [, sender, name] = PAYLOAD.exec(payload ?? "") ?? [];
    const topic = TOPICS.find((each) => each === name);
    if (channel !== CHANNEL || topic === undefined || sender === this.#sender) return;
    this.#call(topic);
  }

  #call(topic: Topic): void {
    for (const listener of this.#listeners.get(topic) ?? []) listener();
  }
}
