import type { IncomingMessage, ServerResponse } from "node:http";
import type { Readable } from "node:stream";
import type { Dispatcher } from "undici";
import type { EdgeError } from "../errors.ts";
import { endToEnd } from "../http/hop-by-hop.ts";
import { RequestBody } from "../http/request-body.ts";
import { reasonPhrase } from "../http/wire.ts";
import { sendDenial, toEgressError } from "./denial.ts";
import type { RequestDestination } from "./destination.ts";

/** One proxied request between a cell and its destination. */
export interface Proxied {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly onFailure: (error: EdgeError) => void;
}

/** Where it goes, and the headers that go with it: names and values in turn. */
export interface FetchDestination {
  readonly dispatcher: Dispatcher;
  readonly target: RequestDestination;
  readonly headers: string[];
}

/**
 * Carries a worker's `fetch()` out and the answer back, both as streams and both as they are: bodies stay
 * compressed, and redirects are the worker's to follow, through this proxy again.
 */
export class FetchPassage implements Dispatcher.DispatchHandler {
  readonly #proxied: Proxied;
  readonly #destination: FetchDestination;
  readonly #body: RequestBody | undefined;
  #controller: Dispatcher.DispatchController | undefined;
  #isRetried = false;
  #isOver = false;

  constructor(proxied: Proxied, destination: FetchDestination) {
    this.#proxied = proxied;
    this.#destination = destination;
    if (hasBody(proxied.request)) this.#body = new RequestBody(proxied, { expectsContinue: false });
  }

  start(): void {
    const { request, response } = this.#proxied;
    response.on("close", () => {
      this.#isOver = true;
      if (!response.writableFinished) this.#controller?.abort(new Error("the worker is gone"));
      // The worker's runtime sends the rest of a body also after it has the answer.
      else if (!request.complete) this.#body?.discard();
    });
    this.#send();
  }

  #send(): void {
    const { request } = this.#proxied;
    const { dispatcher, target, headers } = this.#destination;
    dispatcher.dispatch(
      {
        origin: target.origin,
        path: target.path,
        method: request.method ?? "GET",
        headers,
        // undici takes async iterables, and its documentation says so; its types forget them.
        body: (this.#body ?? null) as unknown as Readable | null,
      },
      this,
    );
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#isOver) controller.abort(new Error("the worker is gone"));
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    _headers: unknown,
    statusMessage?: string,
  ): void {
    if (this.#isOver || status < 200) return;
    const raw = (controller.rawHeaders ?? []) as ReadonlyArray<Buffer>;
    this.#proxied.response.writeHead(status, reasonPhrase(statusMessage), endToEnd(raw));
  }

  onResponseData(controller: Dispatcher.DispatchController, piece: Buffer): void {
    if (this.#isOver || this.#proxied.response.write(piece)) return;
    controller.pause();
    this.#proxied.response.once("drain", () => controller.resume());
  }

  onResponseEnd(): void {
    this.#proxied.response.end();
  }

  onResponseError(_controller: unknown, cause: Error): void {
    if (this.#isOver) return;
    if (this.#mayRetry(cause)) {
      this.#isRetried = true;
      this.#controller = undefined;
      this.#send();
      return;
    }
    const error = toEgressError(cause);
    this.#proxied.onFailure(error);
    sendDenial(this.#proxied.response, error);
  }

  /** A server may close an idle connection just when we use it. What only reads is then asked once more. */
  #mayRetry(cause: Error): boolean {
    const { method = "" } = this.#proxied.request;
    const code = (cause as NodeJS.ErrnoException).code ?? "";
    return (
      !this.#isRetried &&
      !this.#proxied.response.headersSent &&
      this.#controller !== undefined &&
      this.#body === undefined &&
      ["GET", "HEAD", "OPTIONS"].includes(method) &&
      ["ECONNRESET", "EPIPE", "UND_ERR_SOCKET"].includes(code)
    );
  }
}

function hasBody(request: IncomingMessage): boolean {
  const { "content-length": length, "transfer-encoding": encoding } = request.headers;
  return encoding !== undefined || (length !== undefined && !/^0*$/.test(length));
}
