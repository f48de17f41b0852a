import { randomBytes } from "node:crypto";
import { Client, type Notification } from "pg";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";

export interface PostgresChannelOptions {
  readonly url: string;
  /** Name of the database's channel. */
  readonly channel: string;
  /** As the database shows the connection. */
  readonly applicationName: string;
  /** A lost connection is made again with this period. */
  readonly reconnectMs: number;
  /** What connecting may take. */
  readonly connectMs: number;
  /** What a statement may take. */
  readonly answerMs: number;
  readonly clock: Clock;
  readonly log: Pick<Log, "warn">;
  /** Called for what other processes told. */
  readonly onText: (text: string) => void;
  /** Called when there is a connection, again after each that was lost. */
  readonly onConnected?: () => void;
}

const NOTIFY = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload";
/** From whom, and what. */
const PAYLOAD = /^([0-9a-f]{16}) (.*)$/;

/**
 * Tells other processes on a database short texts, and hears of theirs, with the database's notifications.
 * They are hints that may be lost, so something that looks by itself must stand behind them. On one
 * connection, which is made again when it is lost.
 */
export class PostgresChannel {
  readonly #options: PostgresChannelOptions;
  readonly #sender = randomBytes(8).toString("hex");
  readonly #stopReconnecting: () => void;
  /** What is to be told next: of a subject only the latest. */
  readonly #texts = new Map<string, string>();
  #client: Client | undefined;
  #connecting: Promise<void> | undefined;
  #sending: Promise<void> | undefined;
  #isClosed = false;

  constructor(options: PostgresChannelOptions) {
    this.#options = options;
    this.#stopReconnecting = options.clock.every(options.reconnectMs, () => this.#connect());
    this.#connect();
  }

  /** Queues a text in place of an earlier one of its subject; drops it while there is no connection. */
  tell(subject: string, text: string): void {
    if (this.#client === undefined) return;
    this.#texts.set(subject, text);
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
    const { url, channel, applicationName, connectMs, answerMs, onConnected } = this.#options;
    const client = new Client({
      connectionString: url,
      connectionTimeoutMillis: connectMs,
      query_timeout: answerMs,
      keepAlive: true,
      application_name: applicationName,
    });
    client.on("error", () => {}); // `end` follows, and is what counts
    client.on("end", () => this.#lost(client));
    client.on("notification", (notification) => this.#onNotification(notification));
    try {
      await client.connect();
      // A notification is lost with its server anyway: it need not wait for the disk.
      await client.query(`SET synchronous_commit = off; LISTEN ${channel}`);
      this.#client = client;
      onConnected?.();
    } catch {
      // The next turn of the clock tries again; that the database is away, its other connections say.
      await client.end();
    }
  }

  #lost(client: Client): void {
    if (this.#client === client) this.#client = undefined;
  }

  async #send(client: Client): Promise<void> {
    // What is told in one turn goes together.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#texts.size > 0 && this.#client === client) {
      const payloads = [...this.#texts.values()].map((text) => `${this.#sender} ${text}`);
      this.#texts.clear();
      try {
        await client.query(NOTIFY, [this.#options.channel, payloads]);
      } catch (err) {
        // The others find out when they look. A connection that does not answer is replaced.
        this.#options.log.warn({ err }, "other control planes could not be told of changes");
        this.#lost(client);
        await client.end();
      }
    }
    this.#texts.clear();
  }

  #onNotification({ channel, payload }: Notification): void {
    const [, sender, text] = PAYLOAD.exec(payload ?? "") ?? [];
    if (channel !== this.#options.channel || text === undefined) return;
    if (sender !== this.#sender) this.#options.onText(text);
  }
}
