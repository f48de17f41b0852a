// `node node.server.ts <module> <port>`: serves an application on Node.
import { serve } from "@hono/node-server";

const [module = "", port] = process.argv.slice(2);
const { default: app } = (await import(module)) as {
  readonly default: { readonly fetch: (request: Request) => Response | Promise<Response> };
};
serve({ fetch: app.fetch, port: Number(port), hostname: "127.0.0.1" });
