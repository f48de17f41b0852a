import type { Channel } from "../replication/channel.ts";

/** Two connected channels of one process. Messages are copied, as a network would, and arrive later. */
export function connectedChannels(): {
  readonly node: MemoryChannel;
  readonly origin: MemoryChannel;
} {
  const node = new MemoryChannel();
  const origin = new MemoryChannel();
  node.connect(origin);
  origin.connect(node);
  return { node, origin };
}

export class MemoryChannel implements Channel {
  #peer: MemoryChannel | undefined;
  #onMessage: (message: unknown) => void = () => {};
  #onClose: (() => void) | undefined;
  #isClosed = false;
  /** Called with each message that reaches this end, before it is delivered. */
  onArrival: (message: unknown) => void = () => {};
  /** While set, what is sent to this end goes nowhere: a network that has gone silent. */
  isSilent = false;

  connect(peer: MemoryChannel): void {
    this.#peer = peer;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  send(message: unknown): void {
    const copy: unknown = structuredClone(message);
    setImmediate(() => this.#peer?.deliver(copy));
  }

  deliver(message: unknown): void {
    if (this.#isClosed || this.isSilent) return;
    this.onArrival(message);
    if (!this.#isClosed) this.#onMessage(message);
  }

  onMessage(listener: (message: unknown) => void): void {
    this.#onMessage = listener;
  }

  onClose(listener: () => void): void {
    if (this.#isClosed) listener();
    else this.#onClose = listener;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#onClose?.();
    this.#peer?.close();
  }
}
