import { once } from "node:events";
import { rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { WorkerKey } from "@atoll/control-plane/contract";
import type { Logger } from "pino";
import { OutputBudget } from "../cells/output-budget.ts";
import { EdgeError } from "../errors.ts";
import { endToEnd } from "../http/hop-by-hop.ts";
import type { RequestCounts } from "../ingress/ingress.ts";
import { LIMITS } from "../limits.ts";
import { Connector } from "./connector.ts";
import { parseConnectTarget, parseRequestTarget } from "./destination.ts";
import { sendDenial, toEgressError, writeDenial } from "./denial.ts";
import type { EgressPolicy } from "./egress-policy.ts";
import { FetchPassage } from "./fetch-passage.ts";
import { SubrequestAllowance } from "./subrequest-allowance.ts";
import { tunnel, upgrade } from "./tunnel.ts";

export interface EgressProxyOptions {
  readonly policy: EgressPolicy;
  readonly log: Logger;
  /** Certificates (PEM) of authorities that are trusted beside the public ones. */
  readonly authorities?: ReadonlyArray<string>;
  /** How long a destination may take to begin its answer; of `LIMITS` by default. */
  readonly answerMs?: number;
  /** Outgoing requests of one cell in flight; of `LIMITS` by default. */
  readonly requestsMax?: number;
}

/** Whose traffic passes a listener: for logs and for metering. */
export interface EgressIdentity {
  readonly cell: string;
  readonly workers: ReadonlyArray<WorkerKey>;
}

/** By what the subrequests of a cell are bounded. */
export interface SubrequestBound {
  /** How many each request may make. */
  readonly perRequest: number;
  /** What the ingress has sent to the cell; counts all that reached it before the call. */
  readonly requests: () => Promise<RequestCounts>;
}

/** What passed a listener since it opened. Bytes include heads, as seen on the cell's side. */
interface EgressUsage {
  readonly requests: number;
  readonly denials: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
}

/** The way out of one cell. */
export interface EgressListener {
  readonly socketPath: string;
  usage(): EgressUsage;
  /** Cuts off what is in flight. May be called twice. */
  close(): Promise<void>;
}

/**
 * The only way out of a cell: workerd's `internet` service, an `external` one with `style = proxy`, on a
 * unix socket of the cell's own. It speaks proxied HTTP (absolute-form requests, `https://` included) and
 * CONNECT, resolves names itself, and connects only to addresses that the policy has judged.
 */
export class EgressProxy {
  readonly #options: EgressProxyOptions;
  readonly #listeners = new Set<Listener>();

  constructor(options: EgressProxyOptions) {
    this.#options = options;
  }

  /** Listens on `socketPath`, in place of whatever an earlier process left there. */
  async open(
    socketPath: string,
    cell: { readonly identity: EgressIdentity; readonly subrequests: SubrequestBound },
  ): Promise<EgressListener> {
    const listener = new Listener(this.#options, {
      socketPath,
      ...cell,
      onClosed: () => this.#listeners.delete(listener),
    });
    this.#listeners.add(listener);
    await listener.listen();
    return listener;
  }

  /** Closes every listener. May be called twice. */
  async close(): Promise<void> {
    await Promise.all([...this.#listeners].map((listener) => listener.close()));
  }
}

class Listener implements EgressListener {
  readonly socketPath: string;
  readonly #options: EgressProxyOptions;
  readonly #identity: EgressIdentity;
  readonly #onClosed: () => void;
  readonly #server: Server;
  /** One per cell, so that no tenant's request travels on a connection that another's opened. */
  readonly #connector: Connector;
  readonly #allowance: SubrequestAllowance;
  readonly #sockets = new Set<Socket>();
  /** Connections of tunnels and WebSockets, which may outlast the cell's own for as long as something is on its way. */
  readonly #tunnels = new Set<Socket>();
  #inFlight = 0;
  #requests = 0;
  #denials = 0;
  /** Of what is logged of them: a worker can have thousands a second. */
  readonly #logBudget = new OutputBudget(performance.now());
  /** Bytes of sockets that are closed already. */
  #bytesSent = 0;
  #bytesReceived = 0;
  #closing: Promise<void> | undefined;

  constructor(
    options: EgressProxyOptions,
    listener: {
      readonly socketPath: string;
      readonly identity: EgressIdentity;
      readonly subrequests: SubrequestBound;
      readonly onClosed: () => void;
    },
  ) {
    this.#options = options;
    this.socketPath = listener.socketPath;
    this.#identity = listener.identity;
    this.#onClosed = listener.onClosed;
    this.#connector = new Connector(options);
    this.#allowance = new SubrequestAllowance({
      ...listener.subrequests,
      nowMs: () => performance.now(),
    });
    this.#server = this.#createServer();
  }

  async listen(): Promise<void> {
    await rm(this.socketPath, { force: true });
    this.#server.listen(this.socketPath);
    await once(this.#server, "listening");
  }

  usage(): EgressUsage {
    let bytesSent = this.#bytesSent;
    let bytesReceived = this.#bytesReceived;
    for (const socket of this.#sockets) {
      bytesSent += socket.bytesRead;
      bytesReceived += socket.bytesWritten;
    }
    return { requests: this.#requests, denials: this.#denials, bytesSent, bytesReceived };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const closed = this.#server.listening ? once(this.#server, "close") : undefined;
    this.#server.close();
    for (const socket of [...this.#sockets, ...this.#tunnels]) socket.destroy();
    await Promise.all([closed, this.#connector.close()]);
    this.#onClosed();
  }

  #createServer(): Server {
    // workerd writes proxied requests without a host header: the target holds it.
    const server = createServer({
      requireHostHeader: false,
      insecureHTTPParser: false,
      maxHeaderSize: LIMITS.egressHeadBytesMax,
      // The cell is on this machine and may stream an upload for as long as it likes.
      headersTimeout: 0,
      requestTimeout: 0,
      // workerd keeps its connections open; closing them under it would race with its next request.
      keepAliveTimeout: 0,
    });
    // A request is counted when its head is there, so whoever sends none needs another bound.
    server.maxConnections = LIMITS.egressConnectionsPerRequest * this.#requestsMax;
    server.on("connection", (socket: Socket) => this.#onConnection(socket));
    server.on("request", (request, response) => void this.#onRequest(request, response));
    server.on("connect", (request: IncomingMessage, socket: Socket) => {
      this.#onSocket(socket, () =>
        tunnel(socket, this.#connector, parseConnectTarget(request.url ?? "")),
      );
    });
    server.on("upgrade", (request: IncomingMessage, socket: Socket) => {
      this.#onSocket(socket, () =>
        upgrade(socket, this.#connector, {
          target: parseRequestTarget(request.url ?? ""),
          headers: withoutHost(endToEnd(request.rawHeaders)),
        }),
      );
    });
    return server;
  }

  #onConnection(socket: Socket): void {
    this.#sockets.add(socket);
    // An error is always followed by `close`, and whoever uses the socket listens to that.
    socket.on("error", () => undefined);
    socket.on("close", () => {
      this.#sockets.delete(socket);
      this.#bytesSent += socket.bytesRead;
      this.#bytesReceived += socket.bytesWritten;
    });
  }

  async #onRequest(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#requests += 1;
    response.once("close", () => this.#leave());
    try {
      await this.#enter();
      if (response.destroyed) return;
      const target = parseRequestTarget(request.url ?? "");
      const dispatcher = this.#connector.dispatcherFor(target);
      new FetchPassage(
        { request, response, onFailure: (error) => this.#note(error) },
        { dispatcher, target, headers: withoutHost(endToEnd(request.rawHeaders)) },
      ).start();
    } catch (error) {
      this.#note(toEgressError(error));
      sendDenial(response, toEgressError(error));
    }
  }

  /** Runs what takes a whole connection, and resolves with the one that it has outside: a tunnel or a WebSocket. */
  #onSocket(socket: Socket, run: () => Promise<Socket>): void {
    this.#requests += 1;
    let upstream: Socket | undefined;
    socket.once("close", () => {
      if (upstream === undefined || upstream.closed) this.#leave();
      else upstream.once("close", () => this.#leave());
    });
    const attempt = async (): Promise<void> => {
      try {
        await this.#enter();
        if (!socket.destroyed) upstream = this.#keep(await run());
      } catch (error) {
        this.#note(toEgressError(error));
        writeDenial(socket, toEgressError(error));
      }
    };
    void attempt();
  }

  #keep(upstream: Socket): Socket {
    if (upstream.closed) return upstream;
    this.#tunnels.add(upstream);
    upstream.once("close", () => this.#tunnels.delete(upstream));
    return upstream;
  }

  async #enter(): Promise<void> {
    this.#inFlight += 1;
    if (this.#inFlight > this.#requestsMax) {
      throw new EdgeError(
        "egress_busy",
        `more than ${this.#requestsMax} outgoing requests of one cell are in flight`,
      );
    }
    await this.#allowance.take();
  }

  get #requestsMax(): number {
    return this.#options.requestsMax ?? LIMITS.egressRequestsMax;
  }

  #leave(): void {
    this.#inFlight -= 1;
  }

  #note(error: EdgeError): void {
    if (error.code !== "egress_denied") return;
    this.#denials += 1;
    const { message: reason } = error;
    if (!this.#logBudget.takes(reason, performance.now())) return;
    const untold = this.#logBudget.takeOmitted();
    const facts = { ...this.#identity, reason, ...(untold > 0 ? { untold } : {}) };
    this.#options.log.info(facts, "egress denied");
  }
}

/** The target of a proxied request names its host; a second opinion is dropped. */
function withoutHost(headers: ReadonlyArray<string>): string[] {
  return headers.filter((_, index) => headers[index & ~1]?.toLowerCase() !== "host");
}
