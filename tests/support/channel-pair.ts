import { decodeMessage, encodeMessage, MessageToNode } from "@atoll/control-plane/contract";
import type { Channel } from "@atoll/kv-store";

/** A node's and the origin's end of one connection, encoded as on the fleet's link, without the socket. */
export function channelPair(): { readonly node: Channel; readonly origin: Channel } {
  const node = new ChannelEnd();
  const origin = new ChannelEnd();
  node.peer = origin;
  origin.peer = node;
  return { node, origin };
}

class ChannelEnd implements Channel {
  peer: ChannelEnd | undefined;
  #onMessage: (message: unknown) => void = () => {};
  #onClose: (() => void) | undefined;
  #isClosed = false;

  send(message: unknown): void {
    const bytes = encodeMessage({ kind: "kv", message });
    setImmediate(() => this.peer?.deliver(bytes));
  }

  deliver(bytes: Uint8Array): void {
    const received = decodeMessage(MessageToNode, bytes);
    if (!this.#isClosed && received.kind === "kv") this.#onMessage(received.message);
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
    this.peer?.close();
  }
}
