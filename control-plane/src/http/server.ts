import { randomUUID } from "node:crypto";
import { once } from "node:events";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Clock } from "@atoll/kv-store";
import { createAdaptorServer } from "@hono/node-server";
import { Hono } from "hono";
import type { Logger } from "pino";
import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { errorResponse } from "./error-response.ts";
import type { ApiEnvironment } from "./request-context.ts";

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"] as const;

/**
 * On every answer that says nothing else: no browser may guess its type, show it in a frame, run or load
 * anything for it, keep it, or give it to another origin.
 */
const SECURITY_HEADERS = {
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
  "cache-control": "no-store",
} as const;

export interface HttpServerOptions {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  readonly log: Logger;
  readonly clock: Pick<Clock, "nowMs">;
}

/** A handler or middleware, and what it answers: `ALL` stands for every method. */
export interface RegisteredHandler {
  readonly method: string;
  readonly path: string;
  readonly handler: object;
}

/**
 * The control plane's one listener. Routers are mounted at any time; each request is answered by those
 * that are mounted when it arrives. Every failure is answered by `errorResponse`.
 */
export class HttpServer {
  readonly url: string;
  /** For whoever takes over upgrades. */
  readonly server: Server;
  readonly #respond: ReturnType<typeof errorResponse>;
  readonly #mounts: Array<{ readonly path: string; readonly router: Hono<ApiEnvironment> }> = [];
  #app: Hono<ApiEnvironment>;

  private constructor(parts: {
    readonly server: Server;
    readonly url: string;
    readonly respond: ReturnType<typeof errorResponse>;
  }) {
    this.server = parts.server;
    this.url = parts.url;
    this.#respond = parts.respond;
    this.#app = this.#build();
  }

  /** Resolves once it listens. Rejected with the system's error when it cannot, such as `EADDRINUSE`. */
  static async listen({ host, port, ...parts }: HttpServerOptions): Promise<HttpServer> {
    const started = Promise.withResolvers<HttpServer>();
    const server = createAdaptorServer({
      fetch: async (request, env) => (await started.promise).#app.fetch(request, env),
      serverOptions: {
        maxHeaderSize: LIMITS.headBytesMax,
        headersTimeout: LIMITS.headMs,
        requestTimeout: LIMITS.requestMs,
        keepAliveTimeout: LIMITS.idleConnectionMs,
        requireHostHeader: true,
      },
    }) as Server; // The adaptor's type also covers HTTP/2, which only its own option turns on.
    server.maxConnections = LIMITS.connectionsMax;
    server.listen(port, host);
    await once(server, "listening");
    const url = `http://${host}:${(server.address() as AddressInfo).port}`;
    const httpServer = new HttpServer({ server, url, respond: errorResponse(parts) });
    started.resolve(httpServer);
    return httpServer;
  }

  /** Adds a router below a path. */
  mount(path: string, router: Hono<ApiEnvironment>): void {
    this.#mounts.push({ path, router });
    // A router accepts no route after its first request, so the whole is built anew.
    this.#app = this.#build();
  }

  /** Everything that is mounted, in the order in which handlers are tried. */
  get routes(): ReadonlyArray<RegisteredHandler> {
    return this.#app.routes;
  }

  /** Stops accepting, ends idle connections, waits for requests in flight. May be called twice. */
  async close(): Promise<void> {
    if (!this.server.listening) return;
    const closed = once(this.server, "close");
    this.server.close();
    this.server.closeIdleConnections();
    await closed;
  }

  #build(): Hono<ApiEnvironment> {
    const app = new Hono<ApiEnvironment>();
    app.use("*", async (context, next) => {
      context.set("requestId", randomUUID());
      await next();
      context.header("x-request-id", context.var.requestId);
      for (const [name, value] of Object.entries(SECURITY_HEADERS)) {
        if (!context.res.headers.has(name)) context.header(name, value);
      }
      // A client that never lets its connection rest would keep a closing server from its end.
      if (!this.server.listening) context.header("connection", "close");
    });
    for (const { path, router } of this.#mounts) app.route(path, router);
    app.onError(this.#respond);
    // Thrown from here, it would pass by what completes every answer above.
    app.notFound((context) => this.#respond(refuseAddress(app, context.req), context));
    return app;
  }
}

/** Tells an unknown address from a known one with the wrong method. */
function refuseAddress(
  app: Hono<ApiEnvironment>,
  request: { readonly method: string; readonly path: string },
): ControlPlaneError {
  const { method, path } = request;
  const isKnown = METHODS.some((other) =>
    app.router.match(other, path)[0].some(([[, route]]) => route.method === other),
  );
  if (isKnown) {
    return new ControlPlaneError(
      "method_not_allowed",
      `Method ${method} is not available for ${path}`,
    );
  }
  return new ControlPlaneError("not_found", `Atoll has nothing at ${method} ${path}`);
}
