import { spawn } from "node:child_process";
import { once } from "node:events";
import { request } from "undici";
import { eventually } from "../../support/eventually.ts";
import { hold } from "../benchmark.ts";

export interface ServerProcess {
  readonly url: string;
  readonly pid: number;
}

/**
 * Starts a program that listens on a port of 127.0.0.1; resolves when it answers. It ends with `resources`.
 */
export function startServer(
  resources: AsyncDisposableStack,
  options: {
    readonly file: string;
    readonly arguments: ReadonlyArray<string>;
    readonly directory: string;
    readonly environment?: Readonly<Record<string, string>>;
    readonly port: number;
  },
): Promise<ServerProcess> {
  const child = spawn(options.file, options.arguments, {
    cwd: options.directory,
    env: { ...process.env, ...options.environment },
    stdio: ["ignore", "ignore", "inherit"],
  });
  const hasEnded = (): boolean => child.exitCode !== null || child.signalCode !== null;
  const stop = async (): Promise<void> => {
    if (hasEnded()) return;
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  };
  const url = `http://127.0.0.1:${options.port}`;
  const start = async (): Promise<ServerProcess> => {
    await once(child, "spawn");
    await eventually(
      async () => hasEnded() || (await request(url).then(({ body }) => body.text())) !== "",
      { what: `${options.file} answers` },
    ).catch(async (error: unknown) => {
      await stop();
      throw error;
    });
    if (hasEnded()) throw new Error(`${options.file} ended`);
    return { url, pid: child.pid ?? 0 };
  };
  return hold(resources, start, stop);
}
