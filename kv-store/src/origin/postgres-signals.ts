import type { Clock } from "../clock.ts";
import { LIMITS } from "../limits.ts";
import type { Log } from "../log.ts";
import { NamespaceId, Revision } from "../names.ts";
import { PostgresChannel } from "./postgres-channel.ts";

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

/** About which namespace, how far. */
const TEXT = /^([0-9a-f]{32}) (\d{1,15})$/;

/**
 * Tells the other control planes of commits, and hears of theirs. A poll stands behind it. Signals are sent
 * behind the commits and not with them, because notifying transactions are committed one after another in
 * all of the database server, each waiting for the disk.
 */
export class PostgresSignals {
  readonly #channel: PostgresChannel;

  constructor({ url, clock, log, onSignal }: PostgresSignalsOptions) {
    this.#channel = new PostgresChannel({
      ...{ url, clock, log, channel: "atoll_kv", applicationName: "atoll-kv" },
      reconnectMs: LIMITS.originPollMs,
      connectMs: LIMITS.originConnectMs,
      answerMs: LIMITS.originAnswerMs,
      onText: (text) => {
        const [, namespace, revision] = TEXT.exec(text) ?? [];
        if (namespace === undefined) return;
        onSignal({
          namespace: NamespaceId.parse(namespace),
          revision: Revision.parse(Number(revision)),
        });
      },
    });
  }

  /** Queues a signal; drops it while there is no connection. */
  tell({ namespace, revision }: Signal): void {
    this.#channel.tell(namespace, `${namespace} ${revision}`);
  }

  /** May be called twice. */
  close(): Promise<void> {
    return this.#channel.close();
  }
}
