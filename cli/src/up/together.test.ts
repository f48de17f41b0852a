import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { LOCAL_REGIONS } from "../settings.ts";
import { waitUntilTogether } from "./together.ts";

/** The address of a control plane that answers like this, and the variables for it. */
async function answering(listener: RequestListener) {
  const server = createServer(listener).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo; // listens on TCP
  return {
    CLOUDFLARE_API_BASE_URL: `http://127.0.0.1:${port}/client/v4`,
    CLOUDFLARE_API_TOKEN: "token",
    CLOUDFLARE_ACCOUNT_ID: "account",
  };
}

test("atoll up waits for a control plane that does not answer for a moment, or can't", async () => {
  const node = {
    ...{ region: "eu", revision: 1, connected: true },
    ...{ failures: [], cells: [], kv: [], cellFaults: [], cellEnds: {} },
  };
  const nodes = LOCAL_REGIONS.map((name) => ({ ...node, name }));
  let asked = 0;
  const variables = await answering((request, response) => {
    asked += 1;
    if (asked === 1) request.socket.destroy();
    else if (asked === 2) response.writeHead(503).end("busy");
    else if (asked === 3) response.write("{", () => request.socket.destroy());
    else response.end(JSON.stringify({ revision: 1, workers: [], nodes }));
  });
  await waitUntilTogether(variables);
  expect(asked).toBe(4);
});

test("atoll up ends at once where its own token is refused", async () => {
  const variables = await answering((_, response) => void response.writeHead(401).end("no"));
  await expect(waitUntilTogether(variables)).rejects.toMatchObject({ status: 401 });
});
