import { once } from "node:events";
import type { Server } from "node:http";

/** Ends a server with all of its connections; resolves when they are gone. May be called twice. */
export async function closeServer(server: Server): Promise<void> {
  if (!server.listening) return;
  const closed = once(server, "close");
  server.close();
  server.closeAllConnections();
  await closed;
}
