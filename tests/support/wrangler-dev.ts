import { mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type WranglerRelease, WRANGLERS } from "./atoll.ts";
import { startDevProcess } from "./dev-process.ts";
import { findFreePorts } from "./free-ports.ts";

/** A project in `wrangler dev`: in Miniflare, with state of its own. */
export interface WranglerDev {
  readonly url: string;
  /** The process of wrangler; what serves is among its descendants. */
  readonly pid: number;
  stop(): Promise<void>;
}

export async function startWranglerDev(
  directory: string,
  release: WranglerRelease = "4.164",
): Promise<WranglerDev> {
  const manifest = createRequire(import.meta.url).resolve(`${WRANGLERS[release]}/package.json`);
  const state = await mkdtemp(join(tmpdir(), "atoll-wrangler-dev-"));
  const removeState = () => rm(state, { recursive: true, force: true });
  const port = await findFreePorts(1);
  const dev = await startDevProcess({
    script: join(dirname(manifest), "bin", "wrangler.js"),
    arguments: [
      ...["dev", "--ip", "127.0.0.1", "--port", String(port), "--persist-to", state],
      // Any port: of two that start at the same time and look for the usual one, one may wait for ever.
      ...["--inspector-port", "0"],
    ],
    directory,
    // Workers of other runs are none of this one's.
    environment: { WRANGLER_REGISTRY_PATH: join(state, "registry") },
  }).catch(async (error: unknown) => {
    await removeState();
    throw error;
  });
  const stop = async (): Promise<void> => {
    await dev.stop();
    await removeState();
  };
  return { url: `http://127.0.0.1:${port}`, pid: dev.pid, stop };
}
