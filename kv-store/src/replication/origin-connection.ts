import type { Clock } from "../clock.ts";
import type { ContentHash, KvOperation } from "../entry.ts";
import { KvError, type KvErrorCode } from "../errors.ts";
import type { Log } from "../log.ts";
import type { HistoryPoint } from "../names.ts";
import type { KvOrigin } from "../origin/origin.ts";
import { encodeBatches, encodePage } from "./batch.ts";
import type { Channel } from "./channel.ts";
import { MessageToOrigin } from "./messages.ts";
import {
  OriginSession,
  type OriginEffect,
  type OriginInput,
  type WriteOutcome,
} from "./origin-session.ts";
import type { OriginRead } from "./origin-subscription.ts";

/** Where large values are stored. A `BlobStore` is one. */
export interface BlobIndex {
  has(hash: ContentHash): Promise<boolean>;
  /** Does nothing when there is no such content. */
  remove(hash: ContentHash): Promise<void>;
}

export interface OriginConnectionOptions {
  readonly channel: Channel;
  readonly origin: KvOrigin;
  readonly blobs: BlobIndex;
  readonly clock: Clock;
  readonly log: Log;
  /** Called once when the channel is closed. */
  readonly onEnd: (connection: OriginConnection) => void;
}

/** One node's channel: carries out what its `OriginSession` decides. */
export class OriginConnection {
  readonly #options: OriginConnectionOptions;
  readonly #session: OriginSession;
  #isClosed = false;

  constructor(options: OriginConnectionOptions) {
    this.#options = options;
    this.#session = new OriginSession(options.clock.monotonicMs());
    options.channel.onMessage((message) => this.#onMessage(message));
    options.channel.onClose(() => this.#onClose());
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Hands an input to the session, unless the channel is closed. Never throws. */
  take(input: OriginInput): void {
    if (this.#isClosed) return;
    let effects: ReadonlyArray<OriginEffect>;
    try {
      effects = this.#session.handle(input);
    } catch (err) {
      this.#options.log.error({ err, input: input.kind }, "a node's stream failed");
      return this.close("the stream failed");
    }
    for (const effect of effects) this.#perform(effect);
  }

  close(reason: string): void {
    if (!this.#isClosed) this.#options.channel.close(reason);
  }

  #onMessage(message: unknown): void {
    const parsed = MessageToOrigin.safeParse(message);
    if (!parsed.success) {
      this.#options.log.warn({ err: parsed.error }, "a node sent what is no message");
      return this.close("a message could not be parsed");
    }
    this.take({ kind: "message", message: parsed.data, nowMs: this.#options.clock.monotonicMs() });
  }

  #onClose(): void {
    this.#isClosed = true;
    this.#options.onEnd(this);
  }

  #perform(effect: OriginEffect): void {
    switch (effect.kind) {
      case "send":
        return this.#isClosed ? undefined : this.#options.channel.send(effect.message);
      case "cut":
        this.#options.log.warn({ reason: effect.reason }, "cutting the stream to a node");
        return this.close(effect.reason);
      case "read-positions":
        return void this.#readPositions(effect);
      case "write":
        return void this.#write(effect);
      default:
        return void this.#read(effect);
    }
  }

  async #read(effect: OriginRead): Promise<void> {
    const { subscription } = effect;
    try {
      this.take(
        await (effect.kind === "read-log" ? this.#readLog(effect) : this.#readPage(effect)),
      );
    } catch (error) {
      const code = codeOf(error);
      if (!EXPECTED_CODES.has(code)) {
        this.#options.log.error(
          { err: error, effect: effect.kind },
          "the origin could not be read",
        );
      }
      this.take({ kind: "read-failed", subscription, code });
    }
  }

  async #readLog(read: OriginRead & { kind: "read-log" }): Promise<OriginInput> {
    const { subscription, namespace, after } = read;
    const page = await this.#options.origin.readLog(namespace, after);
    const batches = page.kind === "records" ? encodeBatches(page.records) : page.kind;
    return { kind: "log-read", subscription, batches };
  }

  async #readPage(read: OriginRead & { kind: "read-entries" }): Promise<OriginInput> {
    const { subscription, namespace, after, valuesByReference } = read;
    const { entries, ...point } = await this.#options.origin.readEntries(namespace, after);
    const page = encodePage(after, entries, { valuesByReference });
    return { kind: "entries-read", subscription, point, page };
  }

  async #readPositions(effect: OriginEffect & { kind: "read-positions" }): Promise<void> {
    const points = new Map<number, HistoryPoint | undefined>();
    const { origin, log } = this.#options;
    // All at once: an origin behind a network answers them together.
    const reads = [...effect.namespaces].map(async ([subscription, namespace]) => {
      try {
        points.set(subscription, await origin.point(namespace));
      } catch (error) {
        const code = codeOf(error);
        if (code === "namespace_not_found") points.set(subscription, undefined);
        if (!EXPECTED_CODES.has(code)) {
          log.error({ err: error, namespace }, "a revision could not be read");
        }
      }
    });
    await Promise.all(reads);
    this.take({ kind: "positions-read", echoMs: effect.echoMs, atMs: origin.nowMs(), points });
  }

  async #write(effect: OriginEffect & { kind: "write" }): Promise<void> {
    const outcome = await this.#writeOutcome(effect);
    this.take({ kind: "write-settled", id: effect.id, outcome });
  }

  async #writeOutcome(write: OriginEffect & { kind: "write" }): Promise<WriteOutcome> {
    const { namespace, operations, conditions } = write;
    try {
      for (const operation of operations) await this.#checkValue(operation);
      const revision = await this.#options.origin.write(namespace, operations, conditions);
      return { kind: "written", revision };
    } catch (error) {
      if (error instanceof KvError) {
        const { code, found } = error;
        const message = error.message.slice(0, MESSAGE_MAX);
        return { kind: "refused", code, message, ...(found === undefined ? {} : { found }) };
      }
      this.#options.log.error({ err: error, namespace }, "a write failed");
      return { kind: "refused", code: "storage_failed", message: "the origin could not write" };
    }
  }

  /** A hash that leads nowhere would make the value unreadable for good. */
  async #checkValue(operation: KvOperation): Promise<void> {
    if (operation.kind === "delete" || operation.value.kind === "inline") return;
    const { hash } = operation.value;
    // First, so that what is found to be there stays there.
    await this.#options.origin.claimValue(hash);
    if (await this.#options.blobs.has(hash)) return;
    throw new KvError(
      "value_unavailable",
      `no value with hash ${hash} was stored before the write`,
    );
  }
}

/** What happens in the life of a fleet, or is told by the origin itself; everything else deserves a look. */
const EXPECTED_CODES: ReadonlySet<KvErrorCode> = new Set([
  ...["namespace_not_found", "closed", "origin_unreachable", "busy"],
] as const);

// The schema's bound of a refusal's message.
const MESSAGE_MAX = 2_000;

function codeOf(error: unknown): KvErrorCode {
  return error instanceof KvError ? error.code : "storage_failed";
}
