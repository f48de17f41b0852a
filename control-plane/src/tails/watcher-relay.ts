import { type IncomingMessage, request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import type { Duplex } from "node:stream";
import { refuseUpgrade } from "../http/refuse-upgrade.ts";
import { LIMITS } from "../limits.ts";
import type { Peers } from "../peers/peers.ts";

/** The secret in the address begins with the id of the control plane that opened the tail. */
const OWNER = /^([0-9a-f-]{36})\./;
/** Marks what was passed on once, so that a wrong address can't send it in circles. */
const RELAYED = "x-atoll-relayed";

export function secretPrefixOf(id: string): string {
  return `${id}.`;
}

/**
 * Passes a watcher's connection on to the control plane that opened the tail: a balancer in front of several
 * sends the call and the connection to different ones.
 */
export class WatcherRelay {
  readonly #peers: Peers;
  readonly #sockets = new Set<Duplex>();

  constructor(peers: Peers) {
    this.#peers = peers;
  }

  /** Takes over an upgrade for a tail of another control plane; returns whether it is one. */
  upgrade(
    request: IncomingMessage,
    connection: { readonly socket: Duplex; readonly head: Buffer; readonly secret: string },
  ): boolean {
    const owner = OWNER.exec(connection.secret)?.[1];
    if (owner === undefined || owner === this.#peers.id) return false;
    const { socket } = connection;
    const url = this.#peers.find(owner)?.url;
    const isRelayed = request.headers[RELAYED] !== undefined;
    // One that is gone took its tails with it: wrangler opens another one.
    if (url === undefined) refuseUpgrade(socket, "404 Not Found");
    else if (isRelayed) refuseUpgrade(socket, "508 Loop Detected");
    else this.#relay(request, connection, new URL(request.url ?? "", url));
    return true;
  }

  /** Ends every connection. May be called twice. */
  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #relay(
    request: IncomingMessage,
    { socket, head }: { readonly socket: Duplex; readonly head: Buffer },
    url: URL,
  ): void {
    this.#sockets.add(socket);
    const ask = url.protocol === "https:" ? httpsRequest : httpRequest;
    const headers = { ...handshakeOf(request), [RELAYED]: "1" };
    const asked = ask(url, { headers, agent: false, timeout: LIMITS.peerConnectMs });
    const refuse = (status: string): void => refuseUpgrade(socket, status);
    socket.on("error", () => undefined);
    socket.on("close", () => {
      this.#sockets.delete(socket);
      asked.destroy();
    });
    asked.on("timeout", () => asked.destroy(new Error("no answer in time")));
    asked.on("error", () => refuse("502 Bad Gateway"));
    asked.on("response", (answer) => {
      answer.resume();
      refuse(`${answer.statusCode} ${answer.statusMessage}`);
    });
    asked.on("upgrade", (answer, owner: Duplex, ahead) => {
      asked.setTimeout(0);
      socket.write(headOf(answer));
      socket.write(ahead);
      owner.write(head);
      join(socket, owner);
    });
    asked.end();
  }
}

/** What a WebSocket's handshake consists of, and nothing else that a client says. */
function handshakeOf({ headers }: IncomingMessage): Record<string, string> {
  const names = ["key", "version", "protocol"].map((name) => `sec-websocket-${name}`);
  const given = ["upgrade", "connection", ...names].flatMap((name) => {
    const value = headers[name];
    return typeof value === "string" ? [[name, value] as const] : [];
  });
  return Object.fromEntries(given);
}

function headOf({ statusCode, statusMessage, rawHeaders }: IncomingMessage): string {
  const lines = [`HTTP/1.1 ${statusCode} ${statusMessage}`];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    lines.push(`${rawHeaders[at]}: ${rawHeaders[at + 1]}`);
  }
  return `${lines.join("\r\n")}\r\n\r\n`;
}

/** Each gets what the other sends, as fast as it reads, and ends with it. */
function join(left: Duplex, right: Duplex): void {
  right.on("error", () => undefined);
  left.on("close", () => right.destroy());
  right.on("close", () => left.destroy());
  left.pipe(right);
  right.pipe(left);
}
