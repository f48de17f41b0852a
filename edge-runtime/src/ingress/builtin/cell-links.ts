import { type Dispatcher, Pool } from "undici";
import { LIMITS } from "../../limits.ts";
import type { RequestCounts } from "../ingress.ts";
import type { TargetKey } from "../target-key.ts";

/** Something in flight to a cell that can be cut off. */
export interface Traffic {
  /** Where the link that carries it keeps it; the link's to write. */
  position: number;
  /** Ends it at once, towards the cell and towards the client. */
  cut(): void;
}

/**
 * Tells a proxy in front how many WebSockets to a cell's socket do not pass through it; resolves with how
 * many do, once it leaves room for the others. Never rejects.
 */
export type ProxiedWebSockets = (socketPath: string, others: number) => Promise<number>;

export interface LinkBounds {
  /** How long a cell may send nothing in the midst of an answer. */
  readonly answerIdleMs: number;
  /** WebSockets of one cell, those of a proxy in front among them. */
  readonly webSocketsMax: number;
  readonly proxiedWebSockets: ProxiedWebSockets;
}

/** The connections to one cell's socket and the traffic on them. INGRESS.md says why they are undici's. */
export class CellLink {
  readonly socketPath: string;
  /** Targets whose requests go here. With none, the link is closed when its last traffic ends. */
  readonly targets = new Set<TargetKey>();
  readonly #pool: Pool;
  readonly #webSocketsMax: number;
  readonly #proxiedWebSockets: ProxiedWebSockets;
  /**
   * In no order. Not a `Set`: under such churn each generation of its table keeps the next one and what is
   * in it alive until a full collection, which cost as much as the proxying itself.
   */
  readonly #traffic: Traffic[] = [];
  readonly #onIdle: () => void;
  /** All traffic that there ever was. */
  #begun = 0;
  /** WebSockets among the traffic. */
  #webSockets = 0;
  /** Those, and handshakes that may become one: what a proxy has to leave room for. */
  #webSocketsReserved = 0;

  constructor(socketPath: string, onIdle: () => void, bounds: LinkBounds) {
    const { answerIdleMs } = bounds;
    this.socketPath = socketPath;
    this.#onIdle = onIdle;
    this.#webSocketsMax = bounds.webSocketsMax;
    this.#proxiedWebSockets = bounds.proxiedWebSockets;
    this.#pool = new Pool("http://cell", {
      socketPath,
      pipelining: 1,
      keepAliveTimeout: LIMITS.cellIdleConnectionMs,
      // The judgement is `Exchange`'s, which knows what of the head goes on.
      maxHeaderSize: 2 * LIMITS.cellHeadBytesMax,
      // A worker may think, and stream, for as long as its client stays and something of it is heard.
      headersTimeout: answerIdleMs,
      bodyTimeout: answerIdleMs,
    });
  }

  get requests(): RequestCounts {
    return { begun: this.#begun, inFlight: this.#traffic.length };
  }

  get isIdle(): boolean {
    return this.#traffic.length === 0 && this.#webSocketsReserved === 0;
  }

  /** Pairs with `end`. */
  begin(traffic: Traffic): void {
    traffic.position = this.#traffic.push(traffic) - 1;
    this.#begun += 1;
  }

  end(traffic: Traffic): void {
    if (this.#traffic[traffic.position] !== traffic) return;
    const last = this.#traffic.pop();
    if (last !== undefined && last !== traffic) {
      last.position = traffic.position;
      this.#traffic[last.position] = last;
    }
    if (this.isIdle) this.#onIdle();
  }

  /**
   * Counts one more WebSocket, unless the cell has as many as it may. Pairs with `endWebSocket`. The proxy
   * in front admits its own: it is told of this one before it is asked, so together they are never too many.
   */
  async beginWebSocket(): Promise<boolean> {
    this.#webSocketsReserved += 1;
    const proxied = await this.#proxiedWebSockets(this.socketPath, this.#webSocketsReserved);
    if (this.#webSockets + proxied >= this.#webSocketsMax) {
      this.#returnWebSocket();
      return false;
    }
    this.#webSockets += 1;
    return true;
  }

  endWebSocket(): void {
    this.#webSockets -= 1;
    this.#returnWebSocket();
  }

  #returnWebSocket(): void {
    this.#webSocketsReserved -= 1;
    void this.#proxiedWebSockets(this.socketPath, this.#webSocketsReserved);
    if (this.isIdle) this.#onIdle();
  }

  dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void {
    this.#pool.dispatch(options, handler);
  }

  cutTraffic(): void {
    // Each cut takes itself off the list.
    for (const traffic of this.#traffic.slice()) traffic.cut();
  }

  /** Closes every connection. For a link without traffic. */
  close(): void {
    // What it could reject with would concern requests, and none is left.
    void this.#pool.destroy();
  }
}

/** Which cell serves each target, and the links to all cells that still have traffic. */
export class CellLinks {
  readonly #drainMs: number;
  readonly #bounds: LinkBounds;
  readonly #links = new Map<string, CellLink>();
  /** Where new requests of a target go, never empty. Every path in it has a link that lists the target. */
  readonly #published = new Map<TargetKey, ReadonlyArray<string>>();
  /** Waiting drains by socket path, told when its link has become idle. */
  readonly #drains = new Map<string, Set<() => void>>();

  /** Without other bounds those of `LIMITS`, and no proxy. */
  constructor(drainMs: number, bounds: Partial<LinkBounds> = {}) {
    this.#drainMs = drainMs;
    this.#bounds = {
      answerIdleMs: LIMITS.cellAnswerIdleMs,
      webSocketsMax: LIMITS.cellWebSocketsMax,
      proxiedWebSockets: async () => 0,
      ...bounds,
    };
  }

  publish(target: TargetKey, socketPaths: ReadonlyArray<string>): void {
    const before = this.#published.get(target) ?? [];
    if (socketPaths.length === 0) this.#published.delete(target);
    else this.#published.set(target, socketPaths);
    for (const path of socketPaths) this.link(path).targets.add(target);
    for (const path of before.filter((each) => !socketPaths.includes(each))) {
      const old = this.#links.get(path);
      old?.targets.delete(target);
      if (old?.isIdle === true) this.#settle(old);
    }
  }

  /** Where a target's next request goes, as `Ingress.publish` promises. */
  publishedPath(target: TargetKey): string | undefined {
    const paths = this.#published.get(target);
    if (paths === undefined || paths.length === 1) return paths?.[0];
    const inFlight = (path: string): number => this.requestsOf(path).inFlight;
    return paths.reduce((least, path) => (inFlight(path) < inFlight(least) ? path : least));
  }

  requestsOf(socketPath: string): RequestCounts {
    return this.#links.get(socketPath)?.requests ?? { begun: 0, inFlight: 0 };
  }

  /** Requests and WebSockets of all cells. */
  get inFlight(): number {
    return [...this.#links.values()].reduce((sum, link) => sum + link.requests.inFlight, 0);
  }

  link(socketPath: string): CellLink {
    const known = this.#links.get(socketPath);
    if (known !== undefined) return known;
    const link: CellLink = new CellLink(socketPath, () => this.#settle(link), this.#bounds);
    this.#links.set(socketPath, link);
    return link;
  }

  /** As `Ingress.drain` promises. */
  async drain(socketPath: string): Promise<void> {
    const link = this.#links.get(socketPath);
    if (link === undefined || link.isIdle) return;
    const waiting = this.#drains.get(socketPath) ?? new Set();
    this.#drains.set(socketPath, waiting);
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        waiting.delete(done);
        resolve();
      };
      const timer = setTimeout(() => {
        link.cutTraffic();
        done();
      }, this.#drainMs);
      waiting.add(done);
    });
  }

  /** Drains every link. Resolves when none is left. */
  async close(): Promise<void> {
    this.#published.clear();
    for (const link of this.#links.values()) link.targets.clear();
    await Promise.all([...this.#links.keys()].map((socketPath) => this.drain(socketPath)));
    for (const link of this.#links.values()) this.#drop(link);
  }

  #settle(link: CellLink): void {
    for (const done of this.#drains.get(link.socketPath) ?? []) done();
    this.#drains.delete(link.socketPath);
    if (link.targets.size === 0) this.#drop(link);
  }

  #drop(link: CellLink): void {
    if (this.#links.get(link.socketPath) === link) this.#links.delete(link.socketPath);
    link.close();
  }
}
