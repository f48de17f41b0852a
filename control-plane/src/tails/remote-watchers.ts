import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import { WebSocketServer, type WebSocket } from "ws";
import { WIRE_MESSAGE_BYTES_MAX, type TailNews, type WorkerKey } from "../contract/index.ts";
import { bearerToken } from "../http/authentication.ts";
import { refuseUpgrade } from "../http/refuse-upgrade.ts";
import { LIMITS } from "../limits.ts";
import type { PeerCredentials } from "../peers/peer-credentials.ts";
import { PeerSocket } from "../peers/peer-socket.ts";
import type { FleetTail, FleetTails, SourceLink } from "./fleet-tails.ts";
import { MessageFromWatchers, type MessageFromFollower } from "./link-messages.ts";

/** Where a control plane with watchers connects to the others. */
export const REMOTE_TAILS_PATH = "/control-planes/tails";

/**
 * The control planes that have watchers, as the nodes of this one follow their tails: each has one connection
 * here, and its tails end with it.
 */
export class RemoteWatchers {
  readonly #fleet: FleetTails;
  readonly #credentials: PeerCredentials;
  readonly #log: Logger;
  readonly #sockets = new WebSocketServer({
    noServer: true,
    maxPayload: WIRE_MESSAGE_BYTES_MAX,
    perMessageDeflate: false,
  });
  readonly #sources = new Map<string, RemoteSource>();
  readonly #stop: () => void;

  constructor(parts: {
    readonly fleet: FleetTails;
    readonly credentials: PeerCredentials;
    readonly clock: Clock;
    readonly log: Logger;
  }) {
    this.#fleet = parts.fleet;
    this.#credentials = parts.credentials;
    this.#log = parts.log;
    this.#stop = parts.clock.every(LIMITS.tailLookMs, () => {
      for (const source of this.#sources.values()) source.look();
    });
  }

  /** Takes over an upgrade to `REMOTE_TAILS_PATH`. Anybody but a control plane of this fleet is turned away. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const peer = this.#credentials.verify(bearerToken(request.headers.authorization) ?? "");
    if (peer === undefined) {
      this.#log.warn("turned away a connection that is not of another control plane");
      return refuseUpgrade(socket, "401 Unauthorized");
    }
    this.#sockets.handleUpgrade(request, socket, head, (link) => this.#accept(peer, link));
    return undefined;
  }

  /** Ends every connection. May be called twice. */
  close(): void {
    this.#stop();
    for (const source of this.#sources.values()) source.close();
    this.#sockets.close();
  }

  #accept(peer: string, link: WebSocket): void {
    // A second one means that the first is dead, and that TCP has not noticed yet.
    this.#sources.get(peer)?.close();
    const source = new RemoteSource(link, { fleet: this.#fleet, log: this.#log });
    this.#sources.set(peer, source);
    link.on("close", () => {
      if (this.#sources.get(peer) === source) this.#sources.delete(peer);
    });
  }
}

/** One control plane with watchers. What its connection does not take is dropped, and counted. */
class RemoteSource {
  readonly #socket: PeerSocket<typeof MessageFromWatchers>;
  readonly #link: SourceLink;
  /** Workers by tail. */
  readonly #workers = new Map<string, WorkerKey>();
  /** What was dropped, and not told yet. */
  readonly #dropped = new Map<WorkerKey, number>();

  constructor(link: WebSocket, parts: { readonly fleet: FleetTails; readonly log: Logger }) {
    this.#link = parts.fleet.attach({
      followed: (ids) => this.#send({ kind: "followed", ids: [...ids] }),
      news: (news) => this.#tell(news),
      remove: (id) => this.#send({ kind: "remove", id }),
    });
    this.#socket = new PeerSocket(link, {
      schema: MessageFromWatchers,
      onMessage: ({ tails }) => this.#take(tails),
      onEnd: () => this.#link.end(),
      log: parts.log,
    });
  }

  /** To be called now and then: tells what was dropped since. */
  look(): void {
    if (this.#dropped.size > 0) this.#tell({ events: [], dropped: [] });
  }

  /** Its tails end at once: nobody waits for the other end. */
  close(): void {
    this.#link.end();
    this.#socket.close();
  }

  #take(tails: ReadonlyArray<FleetTail>): void {
    this.#workers.clear();
    for (const { tail } of tails) this.#workers.set(tail.id, tail.worker);
    const watched = new Set(this.#workers.values());
    for (const worker of this.#dropped.keys()) {
      if (!watched.has(worker)) this.#dropped.delete(worker);
    }
    this.#link.tell(tails);
  }

  #tell({ events, dropped }: TailNews): void {
    for (const { worker, count } of dropped) this.#drop(worker, count);
    if (this.#socket.bufferedBytes > LIMITS.tailLinkBufferedBytesMax) {
      for (const { tails } of events) {
        const workers = tails.flatMap((id) => this.#workers.get(id) ?? []);
        for (const worker of new Set(workers)) this.#drop(worker, 1);
      }
      return;
    }
    const counts = [...this.#dropped].map(([worker, count]) => ({ worker, count }));
    this.#dropped.clear();
    this.#send({ kind: "news", news: { events, dropped: counts } });
  }

  #drop(worker: WorkerKey, count: number): void {
    this.#dropped.set(worker, (this.#dropped.get(worker) ?? 0) + count);
  }

  #send(message: MessageFromFollower): void {
    this.#socket.send(message);
  }
}
