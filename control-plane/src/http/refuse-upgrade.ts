import type { Duplex } from "node:stream";

/** Answers an upgrade that is not taken, and lets go of its connection, whether or not the other end does. */
export function refuseUpgrade(socket: Duplex, status: string): void {
  socket.on("error", () => undefined);
  // The server has left it half open, and no time limit of it holds any more.
  socket.once("finish", () => socket.destroy());
  socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
}
