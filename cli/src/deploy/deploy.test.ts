import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { deploy } from "./deploy.ts";

/** The project's own wrangler, which has deployed it. */
const WRANGLER = `
  const report = { type: "deploy", worker_name: "shop", version_id: "v" };
  require("fs").writeFileSync(process.env.WRANGLER_OUTPUT_FILE_PATH, JSON.stringify(report) + "\\n");
`;

test("deploy: ends as wrangler ended, also where nobody tells the URLs", async () => {
  const directory = await mkdtemp(join(tmpdir(), "atoll-deploy-test-"));
  const folder = join(directory, "node_modules", "wrangler", "bin");
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "wrangler.js"), WRANGLER);
  // A proxy in front that lets through what wrangler calls.
  const server = createServer((_request, response) => response.writeHead(404).end());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    const { port } = server.address() as AddressInfo;
    const variables = {
      CLOUDFLARE_API_BASE_URL: `http://127.0.0.1:${port}/client/v4`,
      CLOUDFLARE_API_TOKEN: "token",
      CLOUDFLARE_ACCOUNT_ID: "account",
    };
    expect(await deploy({ directory, arguments: [], variables })).toBe(0);
  } finally {
    server.close();
    await rm(directory, { recursive: true });
  }
});
