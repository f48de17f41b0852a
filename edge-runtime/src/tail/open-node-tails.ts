import { join } from "node:path";
import { systemClock } from "@atoll/kv-store";
import type { Logger } from "pino";
import type { CellSupervisor } from "../cells/cell-supervisor.ts";
import { TAIL_SOCKET } from "../config/cell-interface.ts";
import { NodeTails } from "./node-tails.ts";
import type { TailCapabilities } from "./tail-capabilities.ts";
import { TailServer } from "./tail-server.ts";

/** Opens what follows tails, and where cells tell what happens. `supervisor` may come later. */
export async function openNodeTails(options: {
  /** Of the node's sockets. */
  readonly directory: string;
  readonly capabilities: TailCapabilities;
  readonly supervisor: () => CellSupervisor | undefined;
  readonly log: Logger;
}): Promise<{ readonly tails: NodeTails; readonly server: TailServer }> {
  const { directory, capabilities, supervisor, log } = options;
  const tails = new NodeTails({
    watch: async (workers) => supervisor()?.watched.watch(workers),
    onTold: (worker, count) => supervisor()?.watched.noteTold(worker, count),
    versionOf: (worker) => supervisor()?.versionOf(worker)?.id,
    random: Math.random,
    clock: systemClock,
    log,
  });
  const server = await TailServer.listen({
    socketPath: join(directory, TAIL_SOCKET),
    resolveCapability: (capability) => capabilities.resolve(capability),
    onEvents: (source, told) => tails.receive(source, told),
    log,
  });
  return { tails, server };
}
