import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { send, type Answer, type TestAtoll } from "./atoll.ts";
import { eventually } from "./eventually.ts";
import { findFreePorts } from "./free-ports.ts";
import { readStatus } from "./refusal.ts";

const MAIN = join(import.meta.dirname, "..", "..", "cli", "src", "main.ts");

/** A node beside the three of `atoll up`, with options of its own. */
export interface ExtraNode {
  readonly url: string;
  readonly pid: number;
  /** Sends a request to a worker's own host. */
  get(worker: string, path: string): Promise<Answer>;
  /** Resolves when its process is gone. */
  stop(): Promise<void>;
}

/** Starts `atoll node` as an operator does, with a join token; resolves when it follows the fleet. */
export async function joinNode(
  atoll: TestAtoll,
  options: { readonly name: string; readonly arguments: ReadonlyArray<string> },
): Promise<ExtraNode> {
  const { name } = options;
  const controlPlaneData = join(atoll.dataDirectory, "control-plane");
  const issued = await atoll.atoll(["join-token", "--data", controlPlaneData]);
  assert.equal(issued.exitCode, 0, issued.output);
  const port = await findFreePorts(1);
  const child = spawn(
    process.execPath,
    [
      ...[MAIN, "node", "--control-plane", atoll.url, "--region", name],
      ...["--data", join(atoll.dataDirectory, "nodes", name), "--port", String(port)],
      ...["--join", issued.output.trim(), ...options.arguments],
    ],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  const stop = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill("SIGTERM");
    await exited;
  };
  await eventually(
    async () => {
      const { revision, nodes } = await readStatus(atoll);
      return nodes.some((node) => node.name === name && node.revision === revision);
    },
    { what: `the node ${name} follows the fleet` },
  ).catch(async (error: unknown) => {
    await stop();
    throw error;
  });
  const url = `http://127.0.0.1:${port}`;
  return {
    url,
    pid: child.pid ?? 0,
    get: (worker, path) =>
      send(`${url}${path}`, { headers: { host: `${worker}.localhost:${port}` } }),
    stop,
  };
}
