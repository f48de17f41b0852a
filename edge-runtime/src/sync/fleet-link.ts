import {
  decodeMessage,
  encodeMessage,
  MessageToNode,
  WIRE_MESSAGE_BYTES_MAX,
  type MessageFromNode,
} from "@atoll/control-plane/contract";
import type { Logger } from "pino";
import WebSocket from "ws";
import { LIMITS } from "../limits.ts";
import type { ControlPlanes } from "./control-planes.ts";

/** What a link does with what it receives. */
export interface LinkHandlers {
  /** The connection stands: the first message to send is a `hello`. */
  connected(): void;
  received(message: MessageToNode): void;
  disconnected(): void;
}

export interface FleetLinkOptions {
  readonly controlPlanes: ControlPlanes;
  readonly credential: string;
  readonly log: Logger;
  /** From 0 to 1, for the jitter of reconnects. */
  readonly random: () => number;
}

/**
 * The node's one connection to the control plane, or to one of several. It comes back by itself: waits double up to
 * `LIMITS.reconnectMsMax` and are spread at random, so that a fleet that lost its control plane does
 * not return all at once. Messages sent while it is down are dropped: the `hello` of the next
 * connection says all that matters.
 */
export class FleetLink {
  readonly #options: FleetLinkOptions;
  readonly #handlers: LinkHandlers;
  #socket: WebSocket | undefined;
  #retry: NodeJS.Timeout | undefined;
  #silence: NodeJS.Timeout | undefined;
  /** Until a connection has lasted. */
  #proof: NodeJS.Timeout | undefined;
  #failures = 0;
  #closed = false;

  constructor(options: FleetLinkOptions, handlers: LinkHandlers) {
    this.#options = options;
    this.#handlers = handlers;
  }

  /** Begins to connect. Returns at once; `handlers.connected` tells when it stands. */
  open(): void {
    if (this.#closed) return;
    const { controlPlanes, credential } = this.#options;
    const url = controlPlanes.current;
    const socket = new WebSocket(`${url.replace(/^http/, "ws")}/fleet/connect`, {
      headers: { authorization: `Bearer ${credential}` },
      maxPayload: WIRE_MESSAGE_BYTES_MAX,
      handshakeTimeout: LIMITS.controlPlaneCallMs,
      perMessageDeflate: false,
    });
    this.#socket = socket;
    socket.on("open", () => this.#onOpen());
    socket.on("message", (data: Buffer) => this.#onMessage(data));
    socket.on("ping", () => this.#watchSilence());
    socket.on("error", (error) => {
      this.#options.log.debug({ err: error }, "link to the control plane failed");
    });
    socket.on("close", (code, reason) => {
      controlPlanes.leave(url);
      this.#onClose(code, reason.toString());
    });
  }

  get isConnected(): boolean {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Of messages that are on their way out. */
  get bufferedBytes(): number {
    return this.#socket?.bufferedAmount ?? 0;
  }

  /** Sends when connected, and drops otherwise; see the class. */
  send(message: MessageFromNode): void {
    if (this.isConnected) this.#socket?.send(encodeMessage(message));
  }

  /** Ends the connection for good. May be called twice. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    clearTimeout(this.#silence);
    clearTimeout(this.#proof);
    this.#socket?.terminate();
  }

  /** Cuts the connection because it can't be trusted or has stalled; it comes back by itself. */
  reset(reason: string): void {
    this.#options.log.warn({ reason }, "cutting the link to the control plane");
    this.#socket?.terminate();
  }

  #onOpen(): void {
    // One that ends at once, such as where a state can't be saved, would else come back many times a second.
    this.#proof = setTimeout(() => (this.#failures = 0), LIMITS.linkLastingMs);
    this.#options.log.info("connected to the control plane");
    this.#watchSilence();
    this.#handlers.connected();
  }

  #onMessage(data: Buffer): void {
    this.#watchSilence();
    let message: MessageToNode;
    try {
      message = decodeMessage(MessageToNode, data);
    } catch (error) {
      this.#options.log.error({ err: error, bytes: data.length }, "message is not of the contract");
      return;
    }
    this.#handlers.received(message);
  }

  #onClose(code: number, reason: string): void {
    clearTimeout(this.#silence);
    clearTimeout(this.#proof);
    this.#socket = undefined;
    this.#handlers.disconnected();
    if (this.#closed) return;
    const waitMs = this.#nextWaitMs();
    this.#options.log.warn({ code, reason, waitMs }, "no link to the control plane: will retry");
    this.#retry = setTimeout(() => this.open(), waitMs);
  }

  /** "Full jitter": anything from 0 to the current ceiling spreads a returning fleet best. */
  #nextWaitMs(): number {
    const ceiling = Math.min(LIMITS.reconnectMsMax, LIMITS.reconnectMs * 2 ** this.#failures);
    this.#failures += 1;
    return Math.round(ceiling * this.#options.random());
  }

  /** The control plane pings every few seconds: a silent link is dead, whatever TCP believes. */
  #watchSilence(): void {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.reset("silent for too long"), LIMITS.linkSilenceMs);
  }
}
