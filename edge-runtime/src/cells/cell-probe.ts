import { connect } from "node:net";
import { HEALTH_SOCKET } from "../config/cell-interface.ts";
import { EdgeError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { askCell } from "./cell-client.ts";
import type { Cell } from "./cell-host.ts";

/**
 * Resolves when every socket of a cell accepts connections and its health socket answers: then requests
 * can be switched to it. Rejected with `cell_failed` otherwise. No worker runs for it.
 */
export async function probeCell(cell: Cell, sockets: ReadonlyArray<string>): Promise<void> {
  try {
    await Promise.all(sockets.map((name) => connectOnce(cell.socketPath(name))));
    const socketPath = cell.socketPath(HEALTH_SOCKET);
    const { status } = await askCell({ socketPath, timeoutMs: LIMITS.cellProbeMs });
    if (status !== 200) throw new Error(`the health socket answered ${status}`);
  } catch (cause) {
    throw new EdgeError("cell_failed", "a new cell listened, but did not pass its probe", {
      cause,
    });
  }
}

/** Resolves when a unix socket accepted a connection, which is closed again. */
export function connectOnce(path: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = connect({ path }).setTimeout(LIMITS.cellProbeMs);
  socket.once("connect", () => {
    socket.destroy();
    resolve();
  });
  socket.once("timeout", () => socket.destroy(new Error(`${path} did not accept a connection`)));
  socket.once("error", reject);
  return promise;
}
