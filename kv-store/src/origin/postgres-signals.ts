import { randomBytes } from "node:crypto";
import { Client, type Notification } from "pg";
import type { Clock } from "../clock.ts";
import { LIMITS } from "../limits.ts";
import type { Log } from "../log.ts";
import { NamespaceId, Revision } from "../names.ts";

/** A namespace's history reaches this far. */
export interface Signal {
  readonly namespace: NamespaceId;
  readonly revision: Revision;
}

export interface PostgresSignalsOptions {
  readonly url: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Called for what other processes told. */
  readonly onSignal: (signal: Signal) => void;
}

const CHANNEL = "atoll_kv";
const NOTIFY = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload";

/** From whom, about which namespace, how far. */
const PAYLOAD = /^([0-9a-f]{16}) ([0-9a-f]{32}) (\d{1,15})$/;

/**
 * Tells the other control planes of commits, and hears of theirs, with the database's notifications. They
 * are hints that may be lost, so a poll stands behind them: sent behind the commits and not with them,
 * because notifying transactions are committed one after another in all of the database server, each
 * waiting for the disk. On one connection, which is made again when it is lost.
 */
export class PostgresSignals {
  readonly #options: PostgresSignalsOptions;
  readonly #sender = randomBytes(8).toString("hex");
  readonly #stopReconnecting: () => void;
  /** What is to be told next: of a namespace only the latest. */
  #signals = new Map<NamespaceId, Revision>();
  #client: Client | undefined;
  #connecting: Promise<void> | undefined;
  #sending: Promise<void> | undefined;
  #isClosed = false;

  constructor(options: PostgresSignalsOptions) {
    this.#options = options;
    this.#stopReconnecting = options.clock.every(LIMITS.originPollMs, () => this.#connect());
    this.#connect();
  }

  /** Queues a signal; drops it while there is no connection. */
  tell({ namespace, revision }: Signal): void {
    if (this.#client === undefined) return;
    this.#signals.set(namespace, revision);
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
      connectionTimeoutMillis: LIMITS.originConnectMs,
      query_timeout: LIMITS.originAnswerMs,
      keepAlive: true,
      application_name: "atoll-kv",
    });
    client.on("error", () => {}); // `end` follows, and is what counts
    client.on("end", () => this.#lost(client));
    client.on("notification", (notification) => this.#onNotification(notification));
    try {
      await client.connect();
      // A notification is lost with its server anyway: it need not wait for the disk.
      await client.query(`SET synchronous_commit = off; LISTEN ${CHANNEL}`);
      this.#client = client;
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
    while (this.#signals.size > 0 && this.#client === client) {
      const payloads = [...this.#signals].map(([namespace, revision]) =>
        [this.#sender, namespace, revision].join(" "),
      );
      this.#signals = new Map();
      try {
        await client.query(NOTIFY, [CHANNEL, payloads]);
      } catch (err) {
        // The others' poll finds out. A connection that does not answer is replaced.
        this.#options.log.warn({ err }, "other control planes could not be told of commits");
        this.#lost(client);
        await client.end();
      }
    }
    this.#signals.clear();
  }

  #onNotification({ channel, payload }: Notification): void {
    const [, sender, namespace, revision] = PAYLOAD.exec(payload ?? "") ?? [];
    if (channel !== CHANNEL || sender === undefined || sender === this.#sender) return;
    this.#options.onSignal({
      namespace: NamespaceId.parse(namespace),
      revision: Revision.parse(Number(revision)),
    });
  }
}
