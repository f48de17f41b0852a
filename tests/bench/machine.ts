import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { availableParallelism, cpus, loadavg, release, totalmem } from "node:os";
import { promisify } from "node:util";
import { nodeWorkerdPath } from "./bare-workerd.ts";

/** What a figure can't be read without. */
export interface Machine {
  readonly node: string;
  readonly workerd: string;
  readonly wrangler: string;
  /** Its version; `none` where it is not installed, and the built-in ingress serves. */
  readonly haproxy: string;
  readonly kernel: string;
  readonly cores: number;
  readonly processor: string;
  readonly memoryBytes: number;
  /** Processes that wanted a core in the last minute: above none, the figures are not only ours. */
  readonly loadBefore: number;
}

export async function describeMachine(): Promise<Machine> {
  const { stdout } = await promisify(execFile)(nodeWorkerdPath(), ["--version"]);
  const manifest = createRequire(import.meta.url)("wrangler/package.json") as {
    readonly version: string;
  };
  return {
    node: process.version,
    workerd: stdout.trim(),
    wrangler: manifest.version,
    haproxy: await haproxyVersion(),
    kernel: release(),
    cores: availableParallelism(),
    processor: cpus()[0]?.model ?? "unknown",
    memoryBytes: totalmem(),
    loadBefore: loadavg()[0] ?? 0,
  };
}

async function haproxyVersion(): Promise<string> {
  const search = { env: { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin` } };
  const said = await promisify(execFile)("haproxy", ["-v"], search).catch(() => undefined);
  return /version (\S+)/.exec(said?.stdout ?? "")?.[1] ?? "none";
}
