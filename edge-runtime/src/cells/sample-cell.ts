import { once } from "node:events";
import { createServer, type RequestListener, type Server } from "node:http";
import { join } from "node:path";
import { systemClock } from "@atoll/kv-store";
import pino from "pino";
import { configureGroup } from "../config/group-config.ts";
import type { SampleWorker } from "../config/sample-version.ts";
import { listenTogether } from "./cell-events.ts";
import { CacheFront } from "./cache-front.ts";
import { askCell, type CellRequest, type CellResponse } from "./cell-client.ts";
import { SampleHost } from "./sample-host.ts";
import { sampleServices } from "./sample-services.ts";
import { WarmCell } from "./warm-cell.ts";

const log = pino({ level: "silent" });

export interface SampleCellServers {
  /** Answers what the workers' KV bindings send. */
  readonly kv?: RequestListener;
  /** Answers what the workers fetch. */
  readonly egress?: RequestListener;
}

/** For tests: cells from samples on real workerd, with a KV server and a way out of the test's own. */
export class SampleCells {
  readonly #host: SampleHost;
  readonly #cache: CacheFront;
  #servers: Server[] = [];
  #count = 0;

  private constructor(host: SampleHost, cache: CacheFront) {
    this.#host = host;
    this.#cache = cache;
  }

  static async open(): Promise<SampleCells> {
    const host = await SampleHost.open();
    return new SampleCells(host, await CacheFront.listen(join(host.directory, "cache.sock")));
  }

  get directory(): string {
    return this.#host.directory;
  }

  /** Starts the group; the result asks the worker at `index` as the ingress would. */
  async start(
    workers: ReadonlyArray<SampleWorker>,
    servers: SampleCellServers = {},
  ): Promise<(index: number, request?: Partial<CellRequest>) => Promise<CellResponse>> {
    const config = configureGroup(workers, ({ key }, namespace) => `${key} ${namespace}`);
    const sockets = {
      "kv.sock": await this.#listen(servers.kv),
      "egress.sock": await this.#listen(servers.egress),
      "cache.sock": this.#cache.socketPath,
    };
    const cell = await WarmCell.start(
      { workers, config },
      {
        host: this.#host.cells,
        compiler: this.#host.compiler,
        clock: systemClock,
        listener: listenTogether([]),
        log,
        services: { open: async () => sampleServices(sockets) },
        ingress: { requestsOf: async () => ({ begun: 0, inFlight: 0 }) },
      },
    );
    return (index, request) => {
      const key = workers[index]?.key;
      if (key === undefined) throw new TypeError(`there is no worker ${index}`);
      return askCell({ timeoutMs: 5_000, ...request, socketPath: cell.socketPath(key) });
    };
  }

  async close(): Promise<void> {
    await this.#host.close();
    await this.#cache.close();
    for (const server of this.#servers.splice(0)) {
      server.closeAllConnections();
      server.close();
    }
  }

  async #listen(listener: RequestListener | undefined): Promise<string> {
    this.#count += 1;
    const path = join(this.directory, `server-${this.#count}.sock`);
    if (listener === undefined) return path;
    // A proxy's requests name the host in their first line, and workerd sends no Host header then.
    const server = createServer({ requireHostHeader: false }, listener).listen(path);
    this.#servers.push(server);
    await once(server, "listening");
    return path;
  }
}
