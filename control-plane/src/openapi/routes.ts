import { Hono } from "hono";
import type { ApiEnvironment } from "../http/request-context.ts";
import type { RegisteredHandler } from "../http/server.ts";
import { openApiDocument } from "./document.ts";

/** `GET /openapi.json`: what all routes take and answer. It is no secret, and the same for everybody. */
export function createDocumentRoutes(
  registered: () => ReadonlyArray<RegisteredHandler>,
): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  // Made when it is first asked for: most control planes never are.
  let text: string | undefined;
  routes.get("/openapi.json", (context) => {
    text ??= `${JSON.stringify(openApiDocument(registered()), undefined, 1)}\n`;
    return context.body(text, 200, { "content-type": "application/json" });
  });
  return routes;
}
