import { LIMITS } from "../../limits.ts";
import type { HistoryPoint, NamespaceId } from "../../names.ts";
import { isRemovable } from "../../replica/partial-entry.ts";
import { decodePage } from "../batch.ts";
import type { MessageFromOrigin, MessageToOrigin } from "../messages.ts";
import type { OriginInput } from "../origin-session.ts";
import type { OriginRead } from "../origin-subscription.ts";

/** Bytes that may be under way to one node: the window, what crossed it, and what one read brought. */
export const UNDER_WAY_BYTES_MAX =
  LIMITS.windowBytesMax + 2 * (LIMITS.logPageBytesMax + LIMITS.inlineValueBytesMax);

interface Sent {
  readonly sequence: number;
  readonly bytes: number;
  readonly sentMs: number;
}

/** Checks what the origin's end of one connection promises, whatever the node does. */
export class StreamCheck {
  /** Sent, and not known to be processed; oldest first. */
  #underWay: Sent[] = [];
  #bytes = 0;
  /** The subscriptions for which a snapshot may begin: the log can't help. */
  readonly #mayBegin = new Set<number>();
  /** Where the node stands with an unfinished snapshot, as it said. */
  readonly #begun = new Map<number, HistoryPoint>();
  /** The subscriptions whose pages need not have values. */
  readonly #byReference = new Set<number>();
  /** Reads of the log that failed on end. */
  readonly #failures = new Map<number, number>();
  /** The subscription that is served of each namespace, and the last revision that it was sent. */
  readonly #served = new Map<NamespaceId, { readonly id: number; sent: number }>();
  /** The latest revision of each namespace whose commit was told of. */
  readonly #heads = new Map<NamespaceId, number>();
  #readsInProgress = 0;
  #isEnded = false;

  received(message: MessageToOrigin): void {
    if (message.kind === "received") {
      const index = this.#underWay.findIndex(({ sequence }) => sequence > message.sequence);
      const done = this.#underWay.splice(0, index === -1 ? this.#underWay.length : index);
      for (const { bytes } of done) this.#bytes -= bytes;
    } else if (message.kind === "unsubscribe") {
      this.#forget(message.subscription);
    } else if (message.kind === "subscribe") {
      this.#serve(message);
      if (message.valuesByReference === true) this.#byReference.add(message.subscription);
      if (message.snapshot !== undefined) {
        this.#begun.set(message.subscription, message.snapshot);
      } else if (message.after === null) {
        this.#mayBegin.add(message.subscription);
      }
    }
  }

  #serve(message: MessageToOrigin & { kind: "subscribe" }): void {
    const { namespace, subscription: id, after, snapshot } = message;
    const sent = snapshot?.revision ?? after ?? 0;
    // A late one does not take the place of its successor.
    if ((this.#served.get(namespace)?.id ?? 0) < id) this.#served.set(namespace, { id, sent });
  }

  #servedBy(subscription: number): [NamespaceId, { sent: number }] | undefined {
    return [...this.#served].find(([, { id }]) => id === subscription);
  }

  committed(namespace: NamespaceId, revision: number): void {
    this.#heads.set(namespace, revision);
  }

  sent(message: MessageFromOrigin, nowMs: number): void {
    if (message.kind === "gone") this.#forget(message.subscription);
    if (!("sequence" in message)) return;
    const served = this.#servedBy(message.subscription)?.[1];
    if (served !== undefined && "revision" in message) served.sent = message.revision;
    const bytes = "body" in message ? message.body.length : 0;
    this.#underWay.push({ sequence: message.sequence, bytes, sentMs: nowMs });
    this.#bytes += bytes;
    if (this.#bytes > UNDER_WAY_BYTES_MAX) {
      throw new Error(`${this.#bytes} bytes are under way to a node`);
    }
    if (message.kind === "snapshot-page" && this.#byReference.has(message.subscription)) {
      const isHeavy = decodePage(message).operations.some(isRemovable);
      if (isHeavy) throw new Error("a page has values that nobody wanted");
    }
    if (message.kind !== "snapshot-start") return;
    if (!this.#mayBegin.delete(message.subscription)) {
      throw new Error("a snapshot was begun where the log could have helped");
    }
  }

  #forget(subscription: number): void {
    const namespace = this.#servedBy(subscription)?.[0];
    if (namespace !== undefined) this.#served.delete(namespace);
  }

  readBegun(): void {
    this.#readsInProgress += 1;
  }

  readEnded(): void {
    this.#readsInProgress -= 1;
  }

  /** While nothing is read and there is room, whatever is known to be committed has been sent. */
  checkNothingLeft(): void {
    if (this.#isEnded || this.#readsInProgress > 0) return;
    if (this.#readsInProgress < 0) throw new Error("a read was answered twice");
    if (this.#bytes >= LIMITS.windowBytesMax) return;
    for (const [namespace, { sent }] of this.#served) {
      const head = this.#heads.get(namespace) ?? 0;
      if (sent < head)
        throw new Error(`${head} is known of, ${sent} was sent, and nothing is read`);
    }
  }

  /** What the origin read, and found. */
  read(
    read: OriginRead,
    found: OriginInput & { kind: "log-read" | "entries-read" | "read-failed" },
  ): void {
    const { subscription } = read;
    if (found.kind === "read-failed" && read.kind === "read-log") {
      const failures = (this.#failures.get(subscription) ?? 0) + 1;
      this.#failures.set(subscription, failures);
      if (failures >= LIMITS.logReadsMax) this.#mayBegin.add(subscription);
    } else if (found.kind === "log-read") {
      this.#failures.delete(subscription);
      if (found.batches === "truncated" || found.batches === "diverged")
        this.#mayBegin.add(subscription);
    } else if (found.kind === "entries-read") {
      const begun = this.#begun.get(subscription);
      const isOfAnother =
        begun !== undefined &&
        (begun.revision > found.point.revision ||
          (begun.revision === found.point.revision && begun.digest !== found.point.digest));
      if (isOfAnother) this.#mayBegin.add(subscription);
    }
  }

  /** Right after the session has looked at its deadlines. */
  looked(nowMs: number): void {
    const oldest = this.#underWay[0];
    if (this.#isEnded || oldest === undefined) return;
    if (nowMs - oldest.sentMs > LIMITS.windowStallMs + LIMITS.tickMs) {
      throw new Error("a node that applies nothing was not cut");
    }
  }

  end(): void {
    this.#isEnded = true;
  }
}
