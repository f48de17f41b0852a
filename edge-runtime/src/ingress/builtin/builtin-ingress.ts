import { once } from "node:events";
import { rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { WorkerKey } from "@atoll/control-plane/contract";
import { EDGE_ERRORS, type EdgeErrorCode } from "../../errors.ts";
import { LIMITS } from "../../limits.ts";
import type {
  Ingress,
  IngressCounters,
  IngressOptions,
  RequestCounts,
  Route,
  Routing,
} from "../ingress.ts";
import { findPreview } from "../preview-hosts.ts";
import { RouteTable } from "../route-table.ts";
import { type SplitChoice, SplitChooser } from "../split.ts";
import type { TargetKey } from "../target-key.ts";
import { CellLinks, type ProxiedWebSockets } from "./cell-links.ts";
import {
  appendCallerHeaders,
  type Caller,
  callerOf,
  claimedCaller,
  LOST_HEADER,
  newRay,
} from "./client-headers.ts";
import { ClientConnection, codeOfClientError } from "./client-connection.ts";
import { Exchange, type ExchangeContext } from "./exchange.ts";
import { FailureLog } from "./failure-log.ts";
import { discardWithin, sendPage, writePage } from "./page-answers.ts";
import { readRequestHead, type RequestHead } from "./request-head.ts";
import { isWebSocketUpgrade, WebSocketPassage } from "./websocket.ts";

export interface BuiltinIngressOptions extends IngressOptions {
  /** 0 picks a free one. Without a port it serves `fallbackSocketPath` alone. */
  readonly port?: number;
  /**
   * A unix socket on which a trusted proxy forwards what it has no warm cell for. Requests on it keep
   * the caller that the proxy names in `cf-connecting-ip`, `x-forwarded-proto` and `cf-ray`.
   */
  readonly fallbackSocketPath?: string;
  /** The socket of a cell by the name that the trusted proxy has for it; `undefined` when it is gone. */
  readonly lostSocketOf?: (name: string) => string | undefined;
  /** WebSockets that the trusted proxy has to cells by itself. */
  readonly proxiedWebSockets?: ProxiedWebSockets;
}

/** The ingress that needs nothing installed: `node:http` towards clients, undici towards cells. */
export class BuiltinIngress implements Ingress {
  readonly #options: BuiltinIngressOptions;
  readonly #links: CellLinks;
  readonly #failures: FailureLog;
  readonly #context: ExchangeContext;
  readonly #world: Server;
  readonly #proxy: Server;
  readonly #connections = new Map<object, ClientConnection>();
  #table = new RouteTable([]);
  #splits: ReadonlyMap<WorkerKey, SplitChooser> = new Map();
  #previewHosts: ReadonlyMap<string, WorkerKey> = new Map();
  #refused: ReadonlySet<WorkerKey> = new Set();
  #requests = 0;
  #errors = 0;
  #closing: Promise<void> | undefined;

  /** Resolves when it listens. Rejected with the system's error when it cannot. */
  static async open(options: BuiltinIngressOptions): Promise<BuiltinIngress> {
    const ingress = new BuiltinIngress(options);
    if (options.port !== undefined) {
      await listen(ingress.#world, { port: options.port, host: options.address ?? "127.0.0.1" });
    }
    if (options.fallbackSocketPath !== undefined) {
      // A process that was killed leaves its socket behind.
      await rm(options.fallbackSocketPath, { force: true });
      await listen(ingress.#proxy, { path: options.fallbackSocketPath });
    }
    return ingress;
  }

  private constructor(options: BuiltinIngressOptions) {
    this.#options = options;
    const { webSocketsMax, answerIdleMs, proxiedWebSockets } = options;
    this.#links = new CellLinks(options.drainMs ?? LIMITS.drainMs, {
      ...(webSocketsMax !== undefined && { webSocketsMax }),
      ...(answerIdleMs !== undefined && { answerIdleMs }),
      ...(proxiedWebSockets && { proxiedWebSockets }),
    });
    this.#failures = new FailureLog(options.log, () => performance.now());
    this.#context = {
      links: this.#links,
      activator: options.activator,
      onServed: options.onServed ?? nobodyCounts,
      onFailure: (failure) => {
        this.#errors += 1;
        this.#failures.note(failure);
        options.onFailure?.(failure);
      },
    };
    this.#world = this.#createServer("world");
    this.#proxy = this.#createServer("proxy");
  }

  get url(): string {
    const { address, port } = this.#world.address() as AddressInfo;
    return `http://${address.includes(":") ? `[${address}]` : address}:${port}`;
  }

  setRoutes(
    routes: ReadonlyArray<Route>,
    { splits = [], previewHosts = new Map() }: Routing = {},
  ): void {
    this.#table = new RouteTable(routes);
    this.#previewHosts = previewHosts;
    this.#splits = new Map(splits.map((split) => [split.worker, new SplitChooser(split)]));
  }

  publish(target: TargetKey, socketPaths: ReadonlyArray<string>): void {
    this.#links.publish(target, socketPaths);
  }

  refuse(workers: ReadonlySet<WorkerKey>): void {
    this.#refused = workers;
  }

  drain(socketPath: string): Promise<void> {
    return this.#links.drain(socketPath);
  }

  async settled(): Promise<void> {
    // Both take effect where they are called.
  }

  async counters(): Promise<IngressCounters> {
    return {
      requests: this.#requests,
      errors: this.#errors,
      openConnections: this.#connections.size,
      inFlight: this.#links.inFlight,
      restarts: 0,
    };
  }

  async requestsOf(socketPath: string): Promise<RequestCounts> {
    return this.#links.requestsOf(socketPath);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const listening = [this.#world, this.#proxy].filter((server) => server.listening);
    const closed = listening.map((server) => once(server, "close"));
    for (const server of listening) server.close();
    await this.#links.close();
    for (const server of listening) server.closeAllConnections();
    for (const connection of this.#connections.values()) connection.destroy();
    await Promise.all(closed);
    this.#failures.flush();
  }

  #createServer(origin: Origin): Server {
    const server = createServer({
      // The judgement of sizes is `readRequestHead`'s, which knows URL and headers apart; the parser only
      // needs to stop before a head grows without bound.
      maxHeaderSize: 2 * LIMITS.requestHeadBytesMax,
      requireHostHeader: false,
      insecureHTTPParser: false,
      headersTimeout: this.#options.requestHeadMs ?? LIMITS.requestHeadMs,
      // Uploads may take as long as they like while they move; `RequestBody` sees the ones that stall.
      requestTimeout: 0,
      connectionsCheckingInterval: Math.min(1_000, this.#options.requestHeadMs ?? 1_000),
      keepAliveTimeout: LIMITS.clientIdleMs,
      noDelay: true,
      shouldUpgradeCallback: isWebSocketUpgrade,
    });
    server.maxConnections = LIMITS.clientConnectionsMax;
    // Without this Node cuts an answer off as soon as the client ends its sending side. It is missing in
    // the types; `ClientConnection` limits how long such a client is waited on.
    (server as Server & { httpAllowHalfOpen: boolean }).httpAllowHalfOpen = true;
    server.on("connection", (socket: Socket) => this.#onConnection(socket));
    server.on("request", (request, response) => this.#onRequest(origin, { request, response }));
    server.on("checkContinue", (request, response) =>
      this.#onRequest(origin, { request, response, expectsContinue: true }),
    );
    server.on("upgrade", (request, socket: Socket, early) =>
      this.#onUpgrade(origin, { request, socket, early }),
    );
    // A proxy towards anywhere is what CONNECT asks for, and what this is not.
    server.on("connect", (request: IncomingMessage, socket: Socket) => {
      if (this.#connections.get(socket)?.endRequests() === true) return;
      this.#refuseSocket(socket, "request_invalid", request.headers.host);
    });
    server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) =>
      this.#onClientError(error, socket),
    );
    return server;
  }

  #onConnection(socket: Socket): void {
    const connection = new ClientConnection(socket);
    this.#connections.set(socket, connection);
    socket.on("close", () => this.#connections.delete(socket));
  }

  #onRequest(origin: Origin, arrival: Arrival): void {
    this.#requests += 1;
    const { request, response, expectsContinue = false } = arrival;
    const connection = this.#connections.get(request.socket);
    if (connection === undefined || connection.isFlooding) {
      request.socket.destroy();
      return;
    }
    if (connection.isOver) return;
    const reading = readRequestHead(request);
    connection.isOver = reading.kind === "refused";
    const route = reading.kind === "sound" ? this.#route(origin, reading.head, request) : undefined;
    if (route?.worker === undefined || reading.kind === "refused") {
      const code = reading.kind === "refused" ? reading.code : "host_unknown";
      const { accept } = request.headers;
      sendPage(response, code, {
        ray: route?.caller.ray ?? newRay(this.#options.region),
        host: reading.kind === "refused" ? reading.host : reading.head.host,
        accept,
        // After a head that is not sound, nothing says where the next one begins.
        isLast: reading.kind === "refused" || expectsContinue,
      });
      if (!request.complete) discardWithin(request);
      return;
    }
    const { preview } = route;
    const choice = preview ?? this.#splits.get(route.worker)?.choose(reading.head.headers);
    const exchange = new Exchange(this.#context, {
      request,
      response,
      worker: route.worker,
      target: choice?.target ?? route.worker,
      setCookie: choice?.setCookie,
      ray: route.caller.ray,
      head: reading.head,
      expectsContinue,
    });
    connection.begin(exchange, response);
    const lost = this.#lostBy(origin, reading.head);
    // What a proxy lost was let in before.
    if (lost !== undefined) exchange.startAfterLoss(this.#options.lostSocketOf?.(lost));
    else if (this.#refused.has(route.worker)) exchange.startRefused("day_quota_exceeded");
    else exchange.start();
  }

  #onUpgrade(
    origin: Origin,
    arrival: {
      readonly request: IncomingMessage;
      readonly socket: Socket;
      readonly early: Buffer;
    },
  ): void {
    this.#requests += 1;
    const { request, socket, early } = arrival;
    if (this.#connections.get(socket)?.endRequests() === true) return;
    const reading = readRequestHead(request);
    if (reading.kind === "refused" || reading.head.hasBody) {
      const code = reading.kind === "refused" ? reading.code : "request_invalid";
      this.#refuseSocket(socket, code, request.headers.host);
      return;
    }
    const { head } = reading;
    const { worker, preview, caller } = this.#route(origin, head, request);
    if (worker === undefined) {
      writePage(socket, "host_unknown", { ray: caller.ray, host: head.host, accept: head.accept });
      return;
    }
    const choice = preview ?? this.#splits.get(worker)?.choose(head.headers);
    const passage = new WebSocketPassage(this.#context, {
      socket,
      early,
      worker,
      target: choice?.target ?? worker,
      setCookie: choice?.setCookie,
      ray: caller.ray,
      head,
    });
    const lost = this.#lostBy(origin, head);
    // What a proxy lost was let in before.
    if (lost !== undefined) passage.startAfterLoss(this.#options.lostSocketOf?.(lost));
    else if (this.#refused.has(worker)) passage.startRefused("day_quota_exceeded");
    else passage.start();
  }

  /** The cell that a proxy lost the request with, by its name for it. */
  #lostBy(origin: Origin, { claims }: RequestHead): string | undefined {
    return origin === "proxy" ? claims?.get(LOST_HEADER) : undefined;
  }

  /** Finds the worker, and completes the head with what only an ingress may say. */
  #route(
    origin: Origin,
    head: RequestHead,
    request: IncomingMessage,
  ): {
    readonly worker: WorkerKey | undefined;
    /** Where the request goes instead of to the versions that serve. */
    readonly preview: SplitChoice | undefined;
    readonly caller: Caller;
  } {
    const { region } = this.#options;
    const caller =
      origin === "proxy" ? claimedCaller(head, region) : callerOf(request.socket, region);
    const { host, target, acceptEncoding } = head;
    const routed = this.#table.find({ scheme: caller.scheme, host, target });
    const found = routed === undefined ? findPreview(this.#previewHosts, host) : undefined;
    const worker = routed ?? found?.worker;
    if (worker !== undefined) {
      appendCallerHeaders(head.headers, caller, {
        httpVersion: request.httpVersion,
        acceptEncoding,
        region,
      });
    }
    const preview = found && { target: found.target, setCookie: undefined };
    return { worker, preview, caller };
  }

  #onClientError(error: NodeJS.ErrnoException, socket: Socket): void {
    const connection = this.#connections.get(socket);
    // What follows a request that ends its connection is not read: the answer closes it.
    if (error.code === "HPE_CLOSED_CONNECTION" && connection !== undefined) return;
    const code = codeOfClientError(error);
    if (code === undefined || connection === undefined) socket.destroy();
    else if (connection.refuseCurrent(code) === "nothing-in-flight") {
      this.#refuseSocket(socket, code, undefined);
    }
  }

  #refuseSocket(socket: Socket, code: EdgeErrorCode, host: string | undefined): void {
    if (EDGE_ERRORS[code].status >= 500) this.#errors += 1;
    writePage(socket, code, { ray: newRay(this.#options.region), host });
  }
}

/** Who may speak on a listening socket: anybody, or a proxy of ours that has checked the request. */
type Origin = "world" | "proxy";

interface Arrival {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly expectsContinue?: boolean;
}

function nobodyCounts(): void {
  // Nobody asked.
}

async function listen(
  server: Server,
  where: { readonly port: number; readonly host: string } | { readonly path: string },
): Promise<void> {
  server.listen(where);
  await once(server, "listening");
}
