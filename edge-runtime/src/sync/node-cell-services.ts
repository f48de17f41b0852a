import { join } from "node:path";
import { randomBytes } from "node:crypto";
import { TAIL_SOCKET } from "../config/cell-interface.ts";
import type { CellServices, OpenCellServices, ServedCell } from "../cells/cell-services.ts";
import type { EgressProxy } from "../egress/egress-proxy.ts";

export interface NodeCellServicesOptions {
  /** Where the ways out have their sockets. */
  readonly directory: string;
  readonly kvSocketPath: string;
  readonly cacheSocketPath: string;
  readonly tailSocketPath: string;
  readonly egress: EgressProxy;
}

/** What each cell may call: the node's key-value store and cache, and a way out of its own. */
export class NodeCellServices implements CellServices {
  readonly #options: NodeCellServicesOptions;

  constructor(options: NodeCellServicesOptions) {
    this.#options = options;
  }

  async open({ workers, subrequests, isWatched }: ServedCell): Promise<OpenCellServices> {
    const cell = randomBytes(4).toString("hex");
    const socketPath = join(this.#options.directory, `${cell}.sock`);
    const identity = { cell, workers };
    const wayOut = await this.#options.egress.open(socketPath, { identity, subrequests });
    return {
      sockets: {
        "kv.sock": this.#options.kvSocketPath,
        "cache.sock": this.#options.cacheSocketPath,
        "egress.sock": wayOut.socketPath,
        ...(isWatched ? { [TAIL_SOCKET]: this.#options.tailSocketPath } : {}),
      },
      subrequestUsage: () => wayOut.usage(),
      close: () => wayOut.close(),
    };
  }
}
