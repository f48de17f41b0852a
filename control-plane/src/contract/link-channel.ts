import type { Channel } from "@atoll/kv-store";

/**
 * The key-value replication's share of a fleet connection: its messages travel as the `kv` messages of
 * the link. Whoever owns the connection passes in what arrives and tells when it ends.
 */
export class LinkChannel implements Channel {
  readonly #sendKv: (message: unknown) => void;
  readonly #endLink: (reason: string) => void;
  #onMessage: ((message: unknown) => void) | undefined;
  #onClose: (() => void) | undefined;
  #closed = false;

  constructor(link: {
    readonly sendKv: (message: unknown) => void;
    readonly end: (reason: string) => void;
  }) {
    this.#sendKv = link.sendKv;
    this.#endLink = link.end;
  }

  send(message: unknown): void {
    if (!this.#closed) this.#sendKv(message);
  }

  onMessage(listener: (message: unknown) => void): void {
    this.#onMessage = listener;
  }

  onClose(listener: () => void): void {
    this.#onClose = listener;
    if (this.#closed) listener();
  }

  close(reason: string): void {
    if (!this.#closed) this.#endLink(reason);
  }

  /** Passes in a message that arrived on the link. */
  receive(message: unknown): void {
    if (!this.#closed) this.#onMessage?.(message);
  }

  /** Tells that the link is gone. May be called twice. */
  linkEnded(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#onClose?.();
  }
}
