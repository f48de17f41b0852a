// Writes docs/openapi.json as a control plane serves it: `node scripts/launch.mjs scripts/openapi-document.ts`.
// A test compares the file with what is served.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createControlPlane } from "@atoll/control-plane";
import { SqliteOrigin, systemClock } from "@atoll/kv-store";
import { pino } from "pino";

const FILE = join(import.meta.dirname, "..", "docs", "openapi.json");

const dataDirectory = await mkdtemp(join(tmpdir(), "atoll-openapi-"));
const parts = { clock: systemClock, log: pino({ level: "silent" }) };
const kvOrigin = SqliteOrigin.open({ path: join(dataDirectory, "kv.sqlite"), ...parts });
const controlPlane = await createControlPlane({
  ...{ dataDirectory, kvOrigin, ...parts },
  ...{ host: "127.0.0.1", port: 0, baseDomain: "localhost", publicIngressPort: 80 },
  environmentFile: "wrangler.env",
  masterKey: undefined,
  // Nobody uploads anything here.
  preflight: {
    newestCompatibilityDate: "2026-01-01",
    check: () => Promise.reject(new Error("there is no preflight")),
  },
});
try {
  const response = await fetch(`${controlPlane.url}/openapi.json`);
  await writeFile(FILE, await response.text());
} finally {
  await controlPlane.close();
  await kvOrigin.close();
  await rm(dataDirectory, { recursive: true });
}
