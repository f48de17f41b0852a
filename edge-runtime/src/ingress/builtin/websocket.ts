import { type IncomingMessage, request as httpRequest } from "node:http";
import { createConnection, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { WorkerKey } from "@atoll/control-plane/contract";
import { EDGE_ERRORS, EdgeError, type EdgeErrorCode } from "../../errors.ts";
import { endToEnd } from "../../http/hop-by-hop.ts";
import { responseHeadText } from "../../http/wire.ts";
import { LIMITS } from "../../limits.ts";
import type { SplitChoice } from "../split.ts";
import type { CellLink, Traffic } from "./cell-links.ts";
import { type ExchangeContext, isUnreadable } from "./exchange.ts";
import { writePage } from "./page-answers.ts";
import type { RequestHead } from "./request-head.ts";
import { RequestMeter } from "./request-meter.ts";
import { clientHeaders, isUncaughtException } from "./response-head.ts";

const SWITCHED = 101;

/** Whether a request asks for the one protocol that we switch to. */
export function isWebSocketUpgrade(request: IncomingMessage): boolean {
  return request.method === "GET" && /^websocket$/i.test(request.headers.upgrade ?? "");
}

/** A handshake on its way to a worker. `early` is what the client sent behind its head already. */
export interface RoutedHandshake extends SplitChoice {
  readonly socket: Socket;
  readonly early: Buffer;
  readonly worker: WorkerKey;
  readonly ray: string;
  readonly head: RequestHead;
}

/**
 * Carries one WebSocket handshake to the worker's cell. After the cell agreed, bytes are passed as they
 * are; when it answers with anything else, that answer is passed and the connection closed, so that
 * nothing a client sends is ever taken for a request that nobody checked.
 */
export class WebSocketPassage implements Traffic {
  readonly #context: ExchangeContext;
  readonly #handshake: RoutedHandshake;
  readonly #meter: RequestMeter;
  /** What the client's connection had carried when this passage's own bytes began. */
  readonly #readBefore: number;
  #writtenBefore: number | undefined;
  #link: CellLink | undefined;
  #upstream: Duplex | undefined;
  position = -1;
  /** How often it was sent to a cell. */
  #attempts = 0;
  #isOver = false;
  #coldMs: number | undefined;

  constructor(context: ExchangeContext, handshake: RoutedHandshake) {
    this.#context = context;
    this.#handshake = handshake;
    this.#meter = new RequestMeter(handshake.worker, context.onServed);
    this.#readBefore = handshake.socket.bytesRead - handshake.early.length;
  }

  start(): void {
    this.#watchClient();
    const socketPath = this.#context.links.publishedPath(this.#handshake.target);
    if (socketPath === undefined) void this.#activate();
    else void this.#send(socketPath);
  }

  /** As `Exchange.startAfterLoss`. */
  startAfterLoss(socketPath: string | undefined): void {
    this.#watchClient();
    this.#meter.socketPath = socketPath;
    this.#attempts = 1;
    void this.#resume(socketPath, new Error("the proxy lost the handshake"));
  }

  /** Answers with a page in place of the worker, which has nothing of the request. */
  startRefused(code: EdgeErrorCode): void {
    this.#meter.isRefused = true;
    this.#watchClient();
    this.#fail(code, undefined);
  }

  #watchClient(): void {
    const { socket } = this.#handshake;
    socket.on("close", () => {
      this.#measure();
      this.cut();
    });
    // The error is followed by `close`, which ends the passage.
    socket.on("error", () => undefined);
  }

  cut(): void {
    this.#isOver = true;
    this.#upstream?.destroy();
    this.#handshake.socket.destroy();
    this.#leave();
  }

  #measure(): void {
    const { socket } = this.#handshake;
    if (this.#meter.status === SWITCHED) this.#meter.bytesIn = socket.bytesRead - this.#readBefore;
    if (this.#writtenBefore !== undefined) {
      this.#meter.bytesOut = socket.bytesWritten - this.#writtenBefore;
    }
    this.#meter.end();
  }

  async #activate(): Promise<void> {
    try {
      const activation = await this.#context.activator.activate(this.#handshake.target);
      if (this.#isOver) return;
      this.#coldMs = activation.coldMs ?? this.#coldMs;
      await this.#send(activation.socketPath);
    } catch (error) {
      this.#fail(error instanceof EdgeError ? error.code : "cell_failed", error);
    }
  }

  async #send(socketPath: string): Promise<void> {
    const { head } = this.#handshake;
    const link = this.#context.links.link(socketPath);
    if (!(await link.beginWebSocket())) return this.#fail("websockets_full", undefined);
    if (this.#isOver) return link.endWebSocket();
    this.#attempts += 1;
    this.#meter.socketPath = socketPath;
    this.#link = link;
    this.#link.begin(this);
    const connection = createConnection(socketPath);
    this.#upstream = connection;
    const request = httpRequest({
      createConnection: () => connection,
      method: "GET",
      path: head.target,
      headers: [...head.headers, "connection", "Upgrade", "upgrade", "websocket"],
      setHost: false,
      maxHeaderSize: LIMITS.cellHeadBytesMax,
    });
    request.on("upgrade", (response, upstream, early) => {
      this.#switch(response, upstream, early);
    });
    request.on("response", (response) => this.#decline(response));
    request.on("error", (error: NodeJS.ErrnoException) => this.#onError(error));
    request.end();
  }

  #switch(response: IncomingMessage, upstream: Duplex, early: Buffer): void {
    const { socket } = this.#handshake;
    if (this.#isOver) return;
    upstream.on("close", () => this.cut());
    upstream.on("error", () => this.cut());
    this.#sendHead(response, ["connection", "Upgrade", "upgrade", "websocket"]);
    if (early.length > 0) socket.write(early);
    if (this.#handshake.early.length > 0) upstream.write(this.#handshake.early);
    socket.pipe(upstream);
    upstream.pipe(socket);
  }

  #decline(response: IncomingMessage): void {
    const { socket } = this.#handshake;
    if (this.#isOver) return;
    if (isUncaughtException(response.statusCode ?? 0, response.rawHeaders)) {
      this.#fail("worker_threw", undefined);
      return;
    }
    this.#sendHead(response, ["connection", "close"]);
    response.on("error", () => this.cut());
    response.on("end", () => this.#leave());
    response.pipe(socket);
  }

  #sendHead(response: IncomingMessage, ending: ReadonlyArray<string>): void {
    const { socket, ray, setCookie } = this.#handshake;
    const passed = endToEnd(response.rawHeaders);
    const headers = clientHeaders(passed, { ray, coldMs: this.#coldMs, setCookie });
    headers.push(...ending);
    this.#meter.status = response.statusCode ?? 502;
    const head = responseHeadText(this.#meter.status, response.statusMessage ?? "", headers);
    // As Node has read them, each character is a byte.
    socket.write(head, "latin1");
    this.#writtenBefore = socket.bytesWritten;
  }

  #onError(error: NodeJS.ErrnoException): void {
    const socketPath = this.#link?.socketPath;
    this.#leave();
    if (this.#isOver) return;
    if (isUnreadable(error)) this.#fail("answer_invalid", error);
    else if (wasUnread(error)) this.#sendOn(error);
    else void this.#resume(socketPath, error);
  }

  /** Goes on after the loss of a cell that may have read the handshake: at the next one, or with a page. */
  async #resume(socketPath: string | undefined, cause: Error): Promise<void> {
    const { activator } = this.#context;
    const loss = socketPath === undefined ? undefined : await activator.lossOf(socketPath);
    if (this.#isOver) return;
    // It has no body, and changes nothing before it is agreed to.
    if (loss === "alive" || loss === "killed") this.#sendOn(cause);
    else this.#fail(loss ?? "cell_lost", cause);
  }

  #sendOn(cause: Error): void {
    if (this.#attempts < LIMITS.requestAttemptsMax) void this.#activate();
    else this.#fail("cell_lost", cause);
  }

  #fail(code: EdgeErrorCode, cause: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const { socket, worker, ray, head } = this.#handshake;
    if (code !== "preview_unknown") {
      this.#context.onFailure({ code, worker, ray, method: "GET", head, cause });
    }
    this.#meter.status = EDGE_ERRORS[code].status;
    this.#upstream?.destroy();
    this.#leave();
    writePage(socket, code, { ray, host: head.host, accept: head.accept });
  }

  #leave(): void {
    this.#link?.endWebSocket();
    this.#link?.end(this);
    this.#link = undefined;
  }
}

/** As for other requests: no connection could be made, or the system says so, not Node of a connection that ended. */
function wasUnread({ syscall }: NodeJS.ErrnoException): boolean {
  return syscall !== undefined;
}
