import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { QUIET_WRANGLER, type WranglerRelease, WRANGLERS } from "./atoll.ts";
import { eventually } from "./eventually.ts";
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
  const script = join(dirname(manifest), "bin", "wrangler.js");
  const state = await mkdtemp(join(tmpdir(), "atoll-wrangler-dev-"));
  const port = await findFreePorts(1);
  const place = ["--ip", "127.0.0.1", "--port", String(port), "--persist-to", state];
  const child = spawn(process.execPath, [script, "dev", ...place], {
    cwd: directory,
    env: { ...process.env, ...QUIET_WRANGLER },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const output: string[] = [];
  child.stdout.on("data", (piece: Buffer) => output.push(piece.toString()));
  child.stderr.on("data", (piece: Buffer) => output.push(piece.toString()));
  const stop = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) {
      const exited = once(child, "exit");
      child.kill("SIGINT");
      await exited;
    }
    await rm(state, { recursive: true, force: true });
  };
  await eventually(
    () => {
      if (child.exitCode !== null) throw new Error(`wrangler dev ended:\n${output.join("")}`);
      return output.join("").includes("Ready on");
    },
    { what: `wrangler dev serves ${directory}`, deadlineMs: 60_000 },
  ).catch(async (error: unknown) => {
    await stop();
    throw error;
  });
  return { url: `http://127.0.0.1:${port}`, pid: child.pid ?? 0, stop };
}
