import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import type { Database } from "../database/database.ts";
import { LIMITS } from "../limits.ts";
import { TokenStore } from "./store.ts";

/**
 * When tokens were last used, on its way to the database: for people, so no call waits for a commit of it, and the
 * uses of many are one commit. What a crash loses is a second of it.
 */
export class TokenUses {
  readonly #database: Database;
  readonly #log: Logger;
  readonly #store = new TokenStore();
  readonly #stop: () => void;
  /** By id; not written yet. */
  #times = new Map<string, string>();
  #writing: Promise<void> = Promise.resolve();

  constructor(parts: { readonly database: Database; readonly clock: Clock; readonly log: Logger }) {
    this.#database = parts.database;
    this.#log = parts.log;
    this.#stop = parts.clock.every(LIMITS.tokenUsesMs, () => void this.write());
  }

  note(id: string, at: string): void {
    // Whoever does not fit is noted when it calls again.
    if (this.#times.size < LIMITS.tokenUsesHeldMax) this.#times.set(id, at);
  }

  /** Resolves when what was noted before is written, or could not be: then it is tried again later. */
  write(): Promise<void> {
    this.#writing = this.#writing.then(() => this.#writeNoted());
    return this.#writing;
  }

  /** Resolves when nothing is under way any more. May be called twice. */
  async close(): Promise<void> {
    this.#stop();
    await this.write();
  }

  async #writeNoted(): Promise<void> {
    const times = this.#times;
    if (times.size === 0) return;
    this.#times = new Map();
    try {
      await this.#store.touchAll(this.#database, times);
    } catch (error) {
      this.#times = new Map([...times, ...this.#times]);
      this.#log.warn({ err: error }, "when tokens were last used can't be written now");
    }
  }
}
