import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { OriginServer } from "@atoll/kv-store";
import type { Logger } from "pino";
import { WebSocketServer, type WebSocket } from "ws";
import { importPublicKey, LinkChannel, WIRE_MESSAGE_BYTES_MAX } from "../contract/index.ts";
import { isDatabaseFault, isDatabaseUnavailable } from "../database/unavailable.ts";
import type { DesiredState } from "../desired-state/desired-state.ts";
import { bearerToken } from "../http/authentication.ts";
import { refuseUpgrade } from "../http/refuse-upgrade.ts";
import { LIMITS } from "../limits.ts";
import type { EnrolledNode, NodesService } from "../nodes/service.ts";
import type { Dispatcher } from "../schedules/dispatcher.ts";
import type { FleetTails } from "../tails/fleet-tails.ts";
import type { DayQuotas } from "../usage/day-quotas.ts";
import type { UsageService } from "../usage/service.ts";
import type { FleetRegistry } from "./fleet-registry.ts";
import { NodeSession } from "./node-session.ts";

export interface FleetServerOptions {
  readonly nodes: NodesService;
  readonly desiredState: DesiredState;
  readonly registry: FleetRegistry;
  readonly kv: OriginServer;
  readonly usage: UsageService;
  readonly dayQuotas: Pick<DayQuotas, "connect">;
  readonly schedules: Pick<Dispatcher, "connect">;
  readonly tails: Pick<FleetTails, "connect">;
  /** Ed25519 private key, PEM. */
  readonly fleetKey: string;
  readonly log: Logger;
}

interface Connection {
  readonly socket: WebSocket;
  readonly session: NodeSession;
  /** Whether it answered the last ping. */
  isAlive: boolean;
}

const PATH = "/fleet/connect";

/**
 * The control plane's end of every node's connection. A node has one at a time: a second one means that
 * the first is dead and TCP has not noticed yet.
 */
export class FleetServer {
  readonly #options: FleetServerOptions;
  readonly #sockets = new WebSocketServer({
    noServer: true,
    maxPayload: WIRE_MESSAGE_BYTES_MAX,
    perMessageDeflate: false,
  });
  readonly #connections = new Map<string, Connection>();
  readonly #stopFollowing: () => void;
  readonly #heartbeat: NodeJS.Timeout;
  readonly #lookout: NodeJS.Timeout;
  /** The newest revision that the lookout found. */
  #seenRevision = 0;

  constructor(options: FleetServerOptions) {
    this.#options = options;
    this.#stopFollowing = options.desiredState.onChange(() => this.#advanceAll());
    this.#heartbeat = setInterval(() => this.#checkAll(), LIMITS.linkPingMs);
    this.#lookout = setInterval(() => void this.#lookForChanges(), LIMITS.stateLookMs);
  }

  /** Takes over an HTTP upgrade to the link's path. Anything but an enrolled node is turned away. */
  async upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    if (request.url !== PATH) return refuseUpgrade(socket, "404 Not Found");
    const credential = bearerToken(request.headers.authorization);
    const node =
      credential === undefined ? undefined : await this.#options.nodes.authenticate(credential);
    if (node === undefined) {
      this.#options.log.warn("turned away a connection that is not of an enrolled node");
      return refuseUpgrade(socket, "401 Unauthorized");
    }
    this.#sockets.handleUpgrade(request, socket, head, (link) => this.#accept(link, node));
    return undefined;
  }

  /** Ends every connection. May be called twice. */
  close(): void {
    clearInterval(this.#heartbeat);
    clearInterval(this.#lookout);
    this.#stopFollowing();
    // 1001, "going away": nodes come back to whichever control plane answers.
    for (const { socket } of this.#connections.values()) socket.close(1001, "shutting down");
    this.#sockets.close();
  }

  #accept(socket: WebSocket, node: EnrolledNode): void {
    this.#drop(node.name, "replaced by a newer connection");
    const log = this.#options.log.child({ node: node.name });
    const channel = new LinkChannel({
      sendKv: (message) => session.sendKv(message),
      end: (reason) => {
        log.warn({ reason }, "cutting a node's link");
        socket.terminate();
      },
    });
    const session = new NodeSession({
      node: { ...node, sealingKey: importPublicKey(node.sealingKey) },
      desiredState: this.#options.desiredState,
      registry: this.#options.registry,
      fleetKey: this.#options.fleetKey,
      send: (bytes) => this.#sendBounded(socket, bytes),
      onKvMessage: (message) => channel.receive(message),
      usage: this.#options.usage,
      dayQuotas: this.#options.dayQuotas,
      schedules: this.#options.schedules,
      tails: this.#options.tails,
      log,
    });
    const connection: Connection = { socket, session, isAlive: true };
    this.#connections.set(node.name, connection);
    this.#options.kv.accept(channel);
    socket.on("pong", () => {
      connection.isAlive = true;
    });
    socket.on("message", (data: Buffer) => {
      session.receive(data).catch((error: unknown) => {
        if (isDatabaseFault(error)) {
          // The node comes back, to whichever control plane answers, and tells again what it told here.
          log.warn({ err: error }, "ending a node's link: what it tells can't be stored now");
          socket.close(1013, "the database is away");
          return;
        }
        log.error({ err: error, bytes: data.length }, "cutting a node that breaks the contract");
        socket.close(1002, "not of the contract");
      });
    });
    socket.on("error", (error) => log.debug({ err: error }, "link failed"));
    socket.on("close", () => {
      session.close();
      channel.linkEnded();
      if (this.#connections.get(node.name) === connection) this.#connections.delete(node.name);
      log.info("node disconnected");
    });
    log.info({ region: node.region }, "node connected");
  }

  /** A node that does not keep up is cut: it comes back and catches up, and nobody waits for it. */
  #sendBounded(socket: WebSocket, bytes: Uint8Array): void {
    if (socket.bufferedAmount > LIMITS.linkBufferedBytesMax) {
      socket.terminate();
      return;
    }
    socket.send(bytes);
  }

  #drop(name: string, reason: string): void {
    const connection = this.#connections.get(name);
    if (connection === undefined) return;
    this.#connections.delete(name);
    connection.session.close();
    connection.socket.close(1008, reason);
  }

  #advanceAll(): void {
    for (const { session, socket } of this.#connections.values()) {
      session.advance().catch((error: unknown) => {
        this.#options.log.error({ err: error }, "could not read the desired state for a node");
        socket.terminate();
      });
    }
  }

  /** What a command beside this process changed, or another control plane, calls nobody back here. */
  async #lookForChanges(): Promise<void> {
    try {
      const revision = await this.#options.desiredState.revision();
      if (revision === this.#seenRevision) return;
      this.#seenRevision = revision;
      this.#advanceAll();
    } catch (error) {
      // That the database is away its connections say; the next look is due soon.
      if (isDatabaseUnavailable(error)) return;
      this.#options.log.error({ err: error }, "could not look for changes of the desired state");
    }
  }

  #checkAll(): void {
    for (const connection of this.#connections.values()) {
      if (!connection.isAlive) connection.socket.terminate();
      connection.isAlive = false;
      connection.socket.ping();
    }
  }
}
