import { connect, type Socket } from "node:net";

/** What a server sent on a connection of raw bytes until it closed it, and how long that took. */
export interface RawAnswer {
  readonly text: string;
  readonly ms: number;
}

// Past every deadline of a server under test: a connection that is still open then will stay so.
const CLOSED_WITHIN_MS = 30_000;

/** Sends bytes as they are and resolves when the server has closed the connection. */
export function sendRaw(port: number, bytes: string | Uint8Array): Promise<RawAnswer> {
  return talkRaw(port, (socket) => socket.write(bytes));
}

/** Opens a connection, gives it to `talk`, and resolves when the server has closed it. */
export function talkRaw(port: number, talk: (socket: Socket) => void): Promise<RawAnswer> {
  const startedAt = performance.now();
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    const pieces: Buffer[] = [];
    const timer = setTimeout(() => {
      socket.destroy();
      reject(
        new Error(`still open after ${CLOSED_WITHIN_MS} ms: ${Buffer.concat(pieces).toString()}`),
      );
    }, CLOSED_WITHIN_MS);
    socket.on("connect", () => talk(socket));
    socket.on("data", (piece) => pieces.push(piece));
    // A server that closes while we still send resets the connection: what it answered before counts.
    socket.on("error", () => undefined);
    socket.on("close", () => {
      clearTimeout(timer);
      resolve({ text: Buffer.concat(pieces).toString(), ms: performance.now() - startedAt });
    });
  });
}
