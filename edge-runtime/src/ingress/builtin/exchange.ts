import type { IncomingMessage, ServerResponse } from "node:http";
import type { Readable } from "node:stream";
import type { WorkerKey } from "@atoll/control-plane/contract";
import { type Dispatcher, errors } from "undici";
import { EDGE_ERRORS, EdgeError, type EdgeErrorCode } from "../../errors.ts";
import { endToEnd } from "../../http/hop-by-hop.ts";
import { RequestBody } from "../../http/request-body.ts";
import { headerText, reasonPhrase } from "../../http/wire.ts";
import { LIMITS } from "../../limits.ts";
import type { Activator, OnFailure, OnServed } from "../ingress.ts";
import type { SplitChoice } from "../split.ts";
import type { CellLink, CellLinks, Traffic } from "./cell-links.ts";
import { discardWithin, sendPage } from "./page-answers.ts";
import type { RequestHead } from "./request-head.ts";
import { RequestMeter } from "./request-meter.ts";
import { clientHeaders, isUncaughtException, lineBytes } from "./response-head.ts";

/** Where requests go and who is told about them; one for all exchanges of an ingress. */
export interface ExchangeContext {
  readonly links: CellLinks;
  readonly activator: Activator;
  readonly onServed: OnServed;
  readonly onFailure: OnFailure;
}

/** One sound request on its way to one worker. */
export interface RoutedRequest extends SplitChoice {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly worker: WorkerKey;
  readonly ray: string;
  readonly head: RequestHead;
  readonly expectsContinue: boolean;
}

/**
 * Carries one request to its worker's cell and the answer back, both as streams, each at the pace of
 * its reader. Ends when the client has the answer, or with the first of the two sides that goes away.
 */
export class Exchange implements Dispatcher.DispatchHandler, Traffic {
  readonly #context: ExchangeContext;
  readonly #routed: RoutedRequest;
  readonly #body: RequestBody | undefined;
  readonly #meter: RequestMeter;
  /** The cell that has the request now. */
  #link: CellLink | undefined;
  /** Absent while the request waits for a cell or a connection. */
  #controller: Dispatcher.DispatchController | undefined;
  position = -1;
  /** How often it was sent to a cell, by a proxy in front as well. */
  #attempts = 0;
  /** The client is gone or has been answered by us: whatever the cell does is of no interest. */
  #isOver = false;
  #coldMs: number | undefined;

  constructor(context: ExchangeContext, routed: RoutedRequest) {
    this.#context = context;
    this.#routed = routed;
    this.#meter = new RequestMeter(routed.worker, context.onServed);
    if (routed.head.hasBody) {
      this.#body = new RequestBody(routed, {
        expectsContinue: routed.expectsContinue,
        onStalled: () => this.refuse("request_timeout"),
        // A body that tells its length was judged with the head.
        bytesMax: LIMITS.requestBodyBytesMax,
        onTooLarge: () => this.refuse("request_body_too_large"),
      });
    }
  }

  start(): void {
    this.#watchClient();
    this.#begin();
  }

  /**
   * Starts a request that a proxy lost with the cell at `socketPath`, which may have read it; `undefined`
   * when it was cut off there.
   */
  startAfterLoss(socketPath: string | undefined): void {
    this.#watchClient();
    this.#meter.socketPath = socketPath;
    this.#attempts = 1;
    void this.#resume(socketPath, new Error("the proxy lost the request"));
  }

  /** Answers with a page in place of the worker, which has nothing of the request. */
  startRefused(code: EdgeErrorCode): void {
    this.#meter.isRefused = true;
    this.#watchClient();
    this.#fail(code);
  }

  #watchClient(): void {
    this.#routed.response.on("close", () => {
      this.#measure();
      if (!this.#routed.response.writableFinished) this.#stop();
      else if (!this.#routed.request.complete) this.#discardBody();
    });
  }

  #begin(): void {
    const socketPath = this.#context.links.publishedPath(this.#routed.target);
    if (socketPath === undefined) void this.#activate();
    else this.#send(socketPath);
  }

  /** Answers with an error page, or cuts the answer off when it has begun. */
  refuse(code: EdgeErrorCode): void {
    if (this.#isOver) return;
    this.#stop();
    const { response, head, ray } = this.#routed;
    if (response.headersSent) {
      response.destroy();
      return;
    }
    this.#meter.status = EDGE_ERRORS[code].status;
    sendPage(response, code, {
      ray,
      host: head.host,
      accept: head.accept,
      coldMs: this.#coldMs,
      isLast: this.#body?.isHeldBack === true,
    });
  }

  cut(): void {
    this.#stop();
    this.#measure();
    this.#routed.response.destroy();
  }

  #measure(): void {
    this.#meter.bytesIn = this.#body?.bytesTaken ?? 0;
    this.#meter.end();
  }

  async #activate(): Promise<void> {
    try {
      const { target } = this.#routed;
      const activation = await this.#context.activator.activate(target);
      if (this.#isOver) return;
      this.#coldMs = activation.coldMs ?? this.#coldMs;
      this.#send(activation.socketPath);
    } catch (error) {
      this.#fail(error instanceof EdgeError ? error.code : "cell_failed", error);
    }
  }

  #send(socketPath: string): void {
    const { request, head } = this.#routed;
    this.#attempts += 1;
    this.#meter.socketPath = socketPath;
    this.#link = this.#context.links.link(socketPath);
    this.#link.begin(this);
    this.#link.dispatch(
      {
        path: head.target,
        method: request.method ?? "GET",
        headers: head.headers,
        // undici takes async iterables, and its documentation says so; its types forget them.
        body: (this.#body ?? null) as unknown as Readable | null,
      },
      this,
    );
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#isOver) controller.abort(new Error("the client is gone"));
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    _headers: unknown,
    statusMessage?: string,
  ): void {
    // Interim answers speak to the connection between the cell and us.
    if (this.#isOver || status < 200) return;
    const raw = (controller.rawHeaders ?? []) as ReadonlyArray<Buffer>;
    if (isUncaughtException(status, raw)) {
      this.#fail("worker_threw");
      return;
    }
    const { response, ray, setCookie } = this.#routed;
    const passed = endToEnd(raw);
    const isTooLarge =
      lineBytes(passed) > LIMITS.cellHeadBytesMax || passed.length > 2 * LIMITS.headerLinesMax;
    if (isTooLarge) {
      this.#fail("answer_head_too_large");
      return;
    }
    const headers = clientHeaders(passed, { ray, coldMs: this.#coldMs, setCookie });
    // A client that still holds its body back cannot tell whether it has to send it after this.
    if (this.#body?.isHeldBack === true) headers.push("connection", "close");
    this.#meter.status = status;
    response.writeHead(status, reasonPhrase(statusMessage), headers);
  }

  onResponseData(controller: Dispatcher.DispatchController, piece: Buffer): void {
    if (this.#isOver) return;
    this.#meter.bytesOut += piece.length;
    if (this.#routed.response.write(piece)) return;
    controller.pause();
    this.#routed.response.once("drain", () => controller.resume());
  }

  onResponseEnd(controller: Dispatcher.DispatchController): void {
    this.#leave();
    if (this.#isOver) return;
    this.#isOver = true;
    const { response } = this.#routed;
    const trailers = (controller.rawTrailers ?? []) as ReadonlyArray<Buffer>;
    if (trailers.length > 0) response.addTrailers(pairsOf(trailers));
    response.end();
  }

  onResponseError(_controller: unknown, error: Error): void {
    const socketPath = this.#link?.socketPath;
    this.#leave();
    if (this.#isOver) return;
    if (this.#wasUnread(error) && this.#hasAttempts) this.#sendOn();
    else if (isRefusedByClientLibrary(error)) this.#fail("request_invalid", error);
    else if (isStalled(error)) this.#fail("answer_timeout", error);
    else if (isOversized(error)) this.#fail("answer_head_too_large", error);
    else if (isUnreadable(error)) this.#fail("answer_invalid", error);
    else void this.#resume(socketPath, error);
  }

  /** Goes on after the loss of a cell that may have read the request: at the next one, or with a page. */
  async #resume(socketPath: string | undefined, cause: Error): Promise<void> {
    const { activator } = this.#context;
    const loss = socketPath === undefined ? undefined : await activator.lossOf(socketPath);
    if (this.#isOver) return;
    if (loss !== "alive" && loss !== "killed") this.#fail(loss ?? "cell_lost", cause);
    else if (this.#canRepeat && this.#hasAttempts) this.#sendOn();
    else this.#fail("cell_lost", cause);
  }

  /** Sends the request to the next cell. Not to the published one: that may be the one that is dying. */
  #sendOn(): void {
    this.#controller = undefined;
    void this.#activate();
  }

  get #hasAttempts(): boolean {
    return this.#attempts < LIMITS.requestAttemptsMax;
  }

  /** Whether it changes nothing for the client when two cells read the request. */
  get #canRepeat(): boolean {
    const { request, response } = this.#routed;
    return this.#body === undefined && isSafe(request.method) && !response.headersSent;
  }

  /**
   * Whether no cell has acted on the request. That holds when no connection could be made. It also holds
   * when Linux reports `ECONNRESET` or `EPIPE` on a unix socket: the peer was gone before it had read all
   * that was written to it. A peer that read the request and then died shows as a plain end instead: then
   * the request may have had its effect, or have been the cause.
   */
  #wasUnread(error: Error): boolean {
    const code = (error as NodeJS.ErrnoException).code ?? "";
    if (this.#controller === undefined) return code === "ENOENT" || code === "ECONNREFUSED";
    const wasUnread = code === "ECONNRESET" || code === "EPIPE";
    return wasUnread && this.#body === undefined && !this.#routed.response.headersSent;
  }

  #fail(code: EdgeErrorCode, cause?: unknown): void {
    if (this.#isOver) return;
    const { request, worker, ray, head } = this.#routed;
    const method = request.method ?? "GET";
    // Who asks for what there never was is told so; it is no failure of ours.
    if (code !== "preview_unknown") {
      this.#context.onFailure({ code, worker, ray, method, head, cause });
    }
    this.refuse(code);
  }

  #stop(): void {
    this.#isOver = true;
    this.#controller?.abort(new Error("the client is gone"));
    this.#leave();
  }

  #discardBody(): void {
    this.#body?.discard();
    discardWithin(this.#routed.request);
  }

  #leave(): void {
    this.#link?.end(this);
    this.#link = undefined;
  }
}

/** undici checks methods, targets and headers once more before it sends them. */
function isRefusedByClientLibrary(error: Error): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === "UND_ERR_INVALID_ARG" || code === "UND_ERR_NOT_SUPPORTED";
}

/** Whether the cell is there, and sent nothing for as long as it may. */
function isStalled(error: Error): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === "UND_ERR_HEADERS_TIMEOUT" || code === "UND_ERR_BODY_TIMEOUT";
}

/** Whether the answer's head is larger than the client library reads. */
function isOversized(error: Error): boolean {
  return (error as NodeJS.ErrnoException).code === "UND_ERR_HEADERS_OVERFLOW";
}

/** Whether a cell answered with what the parser refuses: it would answer so again. */
export function isUnreadable(error: Error): boolean {
  // undici has a class of its own, Node a code.
  const { code = "" } = error as NodeJS.ErrnoException;
  return error instanceof errors.HTTPParserError || code.startsWith("HPE_");
}

/** Whether a request is meant to change nothing. */
function isSafe(method: string | undefined): boolean {
  return method === "GET" || method === "HEAD" || method === "OPTIONS";
}

function pairsOf(raw: ReadonlyArray<Buffer>): Array<[string, string]> {
  const pairs: Array<[string, string]> = [];
  for (let index = 0; index < raw.length; index += 2) {
    pairs.push([headerText(raw[index]), headerText(raw[index + 1])]);
  }
  return pairs;
}
