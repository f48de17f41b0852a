import type { Clock } from "../clock.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Log } from "../log.ts";
import type { KvOrigin } from "../origin/origin.ts";
import { encodeBatches } from "./batch.ts";
import type { Channel } from "./channel.ts";
import { OriginConnection, type BlobIndex } from "./origin-connection.ts";

export interface OriginServerOptions {
  readonly origin: KvOrigin;
  /** Where nodes store large values before they write their hashes. */
  readonly blobs: BlobIndex;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Serves the nodes of a fleet from one origin: each channel gets the histories that its node subscribes
 * to, and hands in its writes. Also deletes what has expired, and large values that nothing names. Owns none of what it was given.
 */
export class OriginServer {
  readonly #options: OriginServerOptions;
  readonly #connections = new Set<OriginConnection>();
  readonly #stops: ReadonlyArray<() => void>;
  #isSweeping = false;

  constructor(options: OriginServerOptions) {
    this.#options = options;
    const { origin, clock } = options;
    this.#stops = [
      origin.onCommit((namespace, records) => {
        // Encoded once, however many nodes want it.
        const batches = encodeBatches(records);
        for (const connection of this.#connections) {
          connection.take({ kind: "committed", namespace, batches });
        }
      }),
      clock.every(LIMITS.tickMs, () => {
        const nowMs = clock.monotonicMs();
        for (const connection of this.#connections) connection.take({ kind: "tick", nowMs });
      }),
      clock.every(LIMITS.sweepMs, () => void this.#sweep()),
    ];
  }

  /** Serves a newly connected node until its channel closes. */
  accept(channel: Channel): void {
    const connection = new OriginConnection({
      ...this.#options,
      channel,
      onEnd: (ended) => this.#connections.delete(ended),
    });
    if (!connection.isClosed) this.#connections.add(connection);
  }

  /** Closes every channel. May be called twice. */
  close(): void {
    for (const stop of this.#stops) stop();
    for (const connection of this.#connections) connection.close("the control plane is stopping");
  }

  async #sweep(): Promise<void> {
    if (this.#isSweeping) return;
    this.#isSweeping = true;
    const { origin, blobs, log } = this.#options;
    try {
      await origin.expire();
      await origin.collectValues((hash) => blobs.remove(hash));
    } catch (err) {
      // Reads hide what has expired, so a sweep may come late; the next one is due soon.
      const isClosing = err instanceof KvError && err.code === "closed";
      if (!isClosing) log.error({ err }, "expired entries or unused values could not be deleted");
    } finally {
      this.#isSweeping = false;
    }
  }
}
