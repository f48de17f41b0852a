import { type IncomingMessage, request as httpRequest } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { endToEnd } from "../http/hop-by-hop.ts";
import { responseHeadText } from "../http/wire.ts";
import { LIMITS } from "../limits.ts";
import type { Connector } from "./connector.ts";
import { toEgressError, writeDenial } from "./denial.ts";
import type { Destination, RequestDestination } from "./destination.ts";

/** Gives a cell's `connect()` its TCP connection. Rejected before anything is answered. */
export async function tunnel(
  socket: Socket,
  connector: Connector,
  destination: Destination,
): Promise<void> {
  const upstream = await connector.connect(destination);
  if (socket.destroyed) {
    upstream.destroy();
    return;
  }
  socket.write(responseHeadText(200, "OK", []));
  join(socket, upstream);
}

/** Carries a cell's WebSocket handshake out; whatever is not agreed to is answered and closed. */
export async function upgrade(
  socket: Socket,
  connector: Connector,
  handshake: { readonly target: RequestDestination; readonly headers: ReadonlyArray<string> },
): Promise<void> {
  const { target, headers } = handshake;
  const connection = await connector.connect(target);
  socket.once("close", () => connection.destroy());
  const { host } = new URL(target.origin);
  const request = httpRequest({
    createConnection: () => connection,
    path: target.path,
    headers: ["host", host, ...headers, "connection", "Upgrade", "upgrade", "websocket"],
    setHost: false,
    maxHeaderSize: LIMITS.egressHeadBytesMax,
  });
  request.on("upgrade", (response, upstream, early) => {
    socket.write(headOf(response, ["connection", "Upgrade", "upgrade", "websocket"]));
    if (early.length > 0) socket.write(early);
    join(socket, upstream);
  });
  request.on("response", (response) => {
    socket.write(headOf(response, ["connection", "close"]));
    response.on("error", () => socket.destroy());
    response.pipe(socket);
  });
  request.on("error", (error) => writeDenial(socket, toEgressError(error)));
  request.end();
}

/** Both directions, until either side is gone; an end of one side alone is passed on as such. */
function join(one: Duplex, other: Duplex): void {
  one.pipe(other);
  other.pipe(one);
  one.on("close", () => other.destroy());
  other.on("close", () => one.destroy());
  one.on("error", () => other.destroy());
  other.on("error", () => one.destroy());
}

function headOf(response: IncomingMessage, ending: ReadonlyArray<string>): string {
  const headers = [...endToEnd(response.rawHeaders), ...ending];
  return responseHeadText(response.statusCode ?? 502, response.statusMessage ?? "", headers);
}
