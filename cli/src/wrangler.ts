import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import type { WranglerEnvironment } from "./wrangler-environment.ts";

export interface WranglerRun {
  /** The project's folder. */
  readonly directory: string;
  readonly arguments: ReadonlyArray<string>;
  readonly variables: WranglerEnvironment;
  /** Further environment, such as where wrangler reports what it did. */
  readonly environment?: Readonly<Record<string, string>>;
  /** `inherit` shows wrangler's output; `capture` returns it. */
  readonly output: "inherit" | "capture";
}

export interface WranglerResult {
  readonly exitCode: number;
  /** What it wrote; empty when it was shown instead. */
  readonly output: string;
}

/** Runs wrangler, the project's own where it has one, else Atoll's, pointed at an Atoll. */
export function runWrangler(run: WranglerRun): Promise<WranglerResult> {
  const child = spawn(process.execPath, [findWrangler(run.directory), ...run.arguments], {
    cwd: run.directory,
    stdio: run.output === "inherit" ? "inherit" : ["ignore", "pipe", "pipe"],
    env: {
      ...process.env,
      // Nothing of a self-hosted deploy concerns anybody else.
      WRANGLER_SEND_METRICS: "false",
      WRANGLER_HIDE_BANNER: "true",
      ...run.variables,
      ...run.environment,
    },
  });
  const pieces: Buffer[] = [];
  child.stdout?.on("data", (piece: Buffer) => pieces.push(piece));
  child.stderr?.on("data", (piece: Buffer) => pieces.push(piece));
  return new Promise((resolveRun, reject) => {
    child.on("error", reject);
    child.on("close", (code) => {
      resolveRun({ exitCode: code ?? 1, output: Buffer.concat(pieces).toString() });
    });
  });
}

/** Path of the script that wrangler's command is. */
function findWrangler(directory: string): string {
  const script = join("node_modules", "wrangler", "bin", "wrangler.js");
  for (let folder = resolve(directory); ; folder = dirname(folder)) {
    if (existsSync(join(folder, script))) return join(folder, script);
    if (dirname(folder) === folder) break;
  }
  const manifest = createRequire(import.meta.url).resolve("wrangler/package.json");
  return join(dirname(manifest), "bin", "wrangler.js");
}
