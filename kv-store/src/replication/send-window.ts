import { LIMITS } from "../limits.ts";

interface SentMessage {
  readonly sequence: number;
  readonly bytes: number;
  readonly sentMs: number;
}

/** What a message weighs beside its body; keeps a window of empty ones from being endless. */
export const MESSAGE_BYTES = 128;

/** Counts what is on its way to a node, so that a slow one holds up its own stream and nothing else. */
export class SendWindow {
  /** Sent and not yet received, oldest first. */
  #unreceived: SentMessage[] = [];
  /** Sum of the bytes of `#unreceived`. */
  #bytes = 0;
  #sequence = 0;

  /** Whether another message may be sent; it may cross the bound, the next one then waits. */
  get hasRoom(): boolean {
    return this.#bytes < LIMITS.windowBytesMax;
  }

  /** Counts a message, and returns its sequence number: from 1, each one more. */
  sent(bodyBytes: number, nowMs: number): number {
    const bytes = bodyBytes + MESSAGE_BYTES;
    this.#sequence += 1;
    this.#bytes += bytes;
    this.#unreceived.push({ sequence: this.#sequence, bytes, sentMs: nowMs });
    return this.#sequence;
  }

  /** The node has processed everything up to this number. An older number says nothing new. */
  received(sequence: number): void {
    const index = this.#unreceived.findIndex((message) => message.sequence > sequence);
    const done = this.#unreceived.splice(0, index === -1 ? this.#unreceived.length : index);
    for (const message of done) this.#bytes -= message.bytes;
  }

  /** Whether the node holds on to something for longer than it should ever take. */
  isStalled(nowMs: number): boolean {
    const oldest = this.#unreceived[0];
    return oldest !== undefined && nowMs - oldest.sentMs > LIMITS.windowStallMs;
  }
}
