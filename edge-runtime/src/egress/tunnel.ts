import { type IncomingMessage, request as httpRequest } from "node:http";
import type { Socket } from "node:net";
import { EdgeError } from "../errors.ts";
import { endToEnd } from "../http/hop-by-hop.ts";
import { responseHeadText } from "../http/wire.ts";
import { LIMITS } from "../limits.ts";
import type { Connector } from "./connector.ts";
import { toEgressError, writeDenial } from "./denial.ts";
import type { Destination, RequestDestination } from "./destination.ts";

/** Gives a cell's `connect()` its TCP connection, and resolves with that. Rejected before anything is answered. */
export async function tunnel(
  socket: Socket,
  connector: Connector,
  destination: Destination,
): Promise<Socket> {
  const upstream = await connector.connect(destination);
  if (socket.destroyed) return upstream.destroy();
  socket.write(responseHeadText(200, "OK", []));
  join(socket, upstream);
  return upstream;
}

/**
 * Carries a cell's WebSocket handshake out, and resolves with the connection that it takes; whatever is not agreed to is
 * answered and closed.
 */
export async function upgrade(
  socket: Socket,
  connector: Connector,
  handshake: { readonly target: RequestDestination; readonly headers: ReadonlyArray<string> },
): Promise<Socket> {
  const { target, headers } = handshake;
  const connection = await connector.connect(target);
  if (socket.destroyed) return connection.destroy();
  const drop = (): void => void connection.destroy();
  socket.once("close", drop);
  const { host } = new URL(target.origin);
  const request = httpRequest({
    createConnection: () => connection,
    path: target.path,
    headers: ["host", host, ...headers, "connection", "Upgrade", "upgrade", "websocket"],
    setHost: false,
    maxHeaderSize: LIMITS.egressHeadBytesMax,
  });
  let isAnswered = false;
  const deadline = setTimeout(() => request.destroy(noAnswer(host, connector)), connector.answerMs);
  request.once("close", () => clearTimeout(deadline));
  request.on("upgrade", (response, _upstream, early) => {
    clearTimeout(deadline);
    socket.off("close", drop);
    socket.write(headOf(response, ["connection", "Upgrade", "upgrade", "websocket"]));
    if (early.length > 0) socket.write(early);
    join(socket, connection);
  });
  request.on("response", (response) => {
    isAnswered = true;
    clearTimeout(deadline);
    connection.setTimeout(LIMITS.egressIdleMs, drop);
    socket.write(headOf(response, ["connection", "close"]));
    response.on("error", () => socket.destroy());
    response.pipe(socket);
  });
  request.on("error", (error) => {
    // The worker has a head already, and must not take what follows for its body.
    if (isAnswered) socket.destroy();
    else writeDenial(socket, toEgressError(error));
  });
  request.end();
  return connection;
}

function noAnswer(host: string, { answerMs }: Connector): EdgeError {
  return new EdgeError("egress_timeout", `'${host}' did not answer within ${answerMs} ms`);
}

/**
 * Both directions. The end of one side is passed on as such, after all that it sent; what breaks off one side
 * breaks off the other. With one side at its end, nothing may pass for `LIMITS.egressIdleMs`.
 */
function join(one: Socket, other: Socket): void {
  pass(one, other);
  pass(other, one);
}

function pass(from: Socket, to: Socket): void {
  from.pipe(to);
  from.on("end", () => to.setTimeout(LIMITS.egressIdleMs, () => to.destroy()));
  from.on("error", () => to.destroy());
  from.on("close", () => {
    if (!from.readableEnded) to.destroy();
    // What it still says is for nobody.
    else to.resume();
  });
}

function headOf(response: IncomingMessage, ending: ReadonlyArray<string>): Buffer {
  const headers = [...endToEnd(response.rawHeaders), ...ending];
  const { statusCode = 502, statusMessage = "" } = response;
  // As Node has read them, each character is a byte.
  return Buffer.from(responseHeadText(statusCode, statusMessage, headers), "latin1");
}
