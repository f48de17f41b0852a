import type { Clock, Log } from "@atoll/kv-store";
import { PostgresChannel } from "@atoll/kv-store/postgres-channel";
import { LIMITS } from "../limits.ts";

/**
 * What control planes tell each other: the desired state changed; what is shared of nodes did; one came or
 * went; what it let callers do.
 */
const TOPICS = ["state", "nodes", "peers", "uses"] as const;
export type Topic = (typeof TOPICS)[number];

/**
 * Tells the other control planes on a database that something changed, and hears of it from them. Each
 * signal says only that it is worth a look: one that is lost costs the time to the next look, and after a
 * connection was lost everything is looked at once. Details are for what may get lost for good.
 */
export class PostgresSignals {
  readonly #listeners = new Map<Topic, Set<(details: string) => void>>();
  readonly #channel: PostgresChannel;
  #detailsTold = 0;

  constructor(options: { readonly url: string; readonly clock: Clock; readonly log: Log }) {
    this.#channel = new PostgresChannel({
      ...options,
      channel: "atoll_control_plane",
      applicationName: "atoll-control-plane",
      reconnectMs: LIMITS.stateLookMs,
      connectMs: LIMITS.databaseConnectMs,
      answerMs: LIMITS.databaseAnswerMs,
      onText: (text) => {
        const [, name, details = ""] = /^(\w+) ?(.*)$/.exec(text) ?? [];
        const topic = TOPICS.find((each) => each === name);
        if (topic !== undefined) this.#call(topic, details);
      },
      onConnected: () => TOPICS.forEach((topic) => this.#call(topic, "")),
    });
  }

  /** Calls back when another control plane told of it, and, without details, after each new connection. */
  on(topic: Topic, listener: (details: string) => void): void {
    const listeners = this.#listeners.get(topic) ?? new Set();
    this.#listeners.set(topic, listeners.add(listener));
  }

  /** Returns at once. Several before they are sent are one, unless they have details. */
  tell(topic: Topic, details = ""): void {
    if (details === "") return this.#channel.tell(topic, topic);
    this.#detailsTold += 1;
    return this.#channel.tell(`${topic} ${this.#detailsTold}`, `${topic} ${details}`);
  }

  /** May be called twice. */
  close(): Promise<void> {
    return this.#channel.close();
  }

  #call(topic: Topic, details: string): void {
    for (const listener of this.#listeners.get(topic) ?? []) listener(details);
  }
}
