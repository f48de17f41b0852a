import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Logger } from "pino";
import { EdgeError } from "../errors.ts";
import { closeServer } from "../http/close-server.ts";
import { LIMITS } from "../limits.ts";

export interface MetricsServerOptions {
  /** 0 picks a free one. */
  readonly port: number;
  readonly contentType: string;
  /** What is answered to each scrape. */
  readonly text: () => Promise<string>;
  readonly log: Logger;
}

/**
 * Answers `GET /metrics` on the loopback address, where no ingress and no cell leads: cells have no network,
 * and the egress refuses the machine itself. Whoever has a shell on the machine may read what a node does.
 */
export class MetricsServer {
  readonly #options: MetricsServerOptions;
  readonly #server: Server;

  /** Rejected with `metrics_unavailable` when the port can't be had. */
  static async listen(options: MetricsServerOptions): Promise<MetricsServer> {
    const metrics = new MetricsServer(options);
    metrics.#server.listen(options.port, "127.0.0.1");
    try {
      await once(metrics.#server, "listening");
    } catch (cause) {
      const { message } = cause as Error;
      throw new EdgeError(
        "metrics_unavailable",
        `Port ${options.port} for metrics can't be had: ${message}. Choose another --metrics-port`,
        { cause },
      );
    }
    return metrics;
  }

  private constructor(options: MetricsServerOptions) {
    this.#options = options;
    this.#server = createServer(
      { headersTimeout: LIMITS.metricsRequestMs, requestTimeout: LIMITS.metricsRequestMs },
      (request, response) => void this.#answer(request, response),
    );
    this.#server.maxConnections = LIMITS.metricsConnectionsMax;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/metrics`;
  }

  /** May be called twice. */
  close(): Promise<void> {
    return closeServer(this.#server);
  }

  async #answer({ method, url }: IncomingMessage, response: ServerResponse): Promise<void> {
    if (url?.split("?")[0] !== "/metrics") return refuse(response, 404);
    if (method !== "GET" && method !== "HEAD") return refuse(response, 405);
    try {
      const text = await this.#options.text();
      response.writeHead(200, { "content-type": this.#options.contentType }).end(text);
    } catch (error) {
      this.#options.log.error({ err: error }, "metrics could not be read");
      refuse(response, 500);
    }
  }
}

function refuse(response: ServerResponse, status: number): void {
  response.writeHead(status, { "content-type": "text/plain" }).end("Metrics are at /metrics.\n");
}
