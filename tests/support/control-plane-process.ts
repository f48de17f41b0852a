import { setTimeout as wait } from "node:timers/promises";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { openSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WebSocket } from "ws";
import { MAIN, run } from "./atoll.ts";
import { eventually } from "./eventually.ts";
import { findFreePorts } from "./free-ports.ts";

/** What a control plane is started with; nothing else of it depends on the test. */
export interface ControlPlaneProcessOptions {
  /** Address of a PostgreSQL database, in place of the embedded one. */
  readonly databaseUrl?: string;
  /** Its data directory, made when it is missing; by default one that is removed with it. */
  readonly dataDirectory?: string;
  /** Added to its environment. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Lets `heapBytes` look into it. */
  readonly isInspected?: boolean;
}

// It loads a thousand files and syncs others: minutes on a disk that is busy with something else.
const START_MS = 180_000;

// Nobody answers there: what a test proves or not must not depend on the machine's own DNS.
const NO_DNS = { ATOLL_DNS_RESOLVER: "127.0.0.1:9" };

/** A control plane alone, as `atoll control-plane` runs it, in a process that tests kill. */
export class ControlPlaneProcess {
  readonly dataDirectory: string;
  readonly url: string;
  readonly databaseUrl: string | undefined;
  readonly #directory: string;
  readonly #port: number;
  readonly #options: ControlPlaneProcessOptions;
  #process: ChildProcess | undefined;
  #variables: Readonly<Record<string, string>> = {};

  static async start(options: ControlPlaneProcessOptions = {}): Promise<ControlPlaneProcess> {
    const directory = await mkdtemp(join(tmpdir(), "atoll-alone-"));
    const port = await findFreePorts(1);
    const plane = new ControlPlaneProcess({ directory, port, options });
    await plane.restart();
    return plane;
  }

  private constructor(parts: {
    readonly directory: string;
    readonly port: number;
    readonly options: ControlPlaneProcessOptions;
  }) {
    this.#directory = parts.directory;
    this.#port = parts.port;
    this.#options = parts.options;
    this.databaseUrl = parts.options.databaseUrl;
    this.dataDirectory = parts.options.dataDirectory ?? join(parts.directory, "data");
    this.url = `http://127.0.0.1:${parts.port}`;
  }

  get account(): string {
    return this.#variables["CLOUDFLARE_ACCOUNT_ID"] ?? "";
  }

  get token(): string {
    return this.#variables["CLOUDFLARE_API_TOKEN"] ?? "";
  }

  /** The variables that point wrangler here. */
  get variables(): Readonly<Record<string, string>> {
    return this.#variables;
  }

  get isRunning(): boolean {
    const child = this.#process;
    return child !== undefined && child.exitCode === null && child.signalCode === null;
  }

  /** Starts it, first or again. Resolves when it answers; rejected, with its log, when it ends before. */
  async restart(): Promise<void> {
    const { isInspected = false, environment = {} } = this.#options;
    const log = openSync(this.#logFile, "a");
    const wranglerFile = join(this.#directory, "wrangler.env");
    this.#process = spawn(
      process.execPath,
      [
        ...(isInspected ? ["--inspect=127.0.0.1:0"] : []),
        ...[MAIN, "control-plane", ...this.place, "--port", String(this.#port)],
        ...["--ingress-port", "1", "--wrangler-env", wranglerFile],
      ],
      { env: { ...process.env, ...NO_DNS, ...environment }, stdio: ["ignore", log, log] },
    );
    const text = await eventually(
      async () => {
        if (!this.isRunning) return "";
        return (await answers(this.url)) && (await readFile(wranglerFile, "utf8"));
      },
      { what: `${this.url} answers`, deadlineMs: START_MS },
    ).catch(async (error: unknown) => {
      await this.end("SIGKILL");
      throw error;
    });
    if (!this.isRunning) throw new Error(`the control plane ended:\n${await this.log()}`);
    const lines = text.matchAll(/^export ([A-Z_]+)=(.*)$/gm);
    this.#variables = Object.fromEntries(
      [...lines].map(([, name = "", value = ""]) => [name, value]),
    );
  }

  /** Options of commands beside it that say where its data is. */
  get place(): ReadonlyArray<string> {
    const database = this.databaseUrl === undefined ? [] : ["--database", this.databaseUrl];
    return ["--data", this.dataDirectory, ...database];
  }

  /** Runs a command of `atoll`, such as `backup`. */
  command(line: ReadonlyArray<string>) {
    const environment = { ...process.env, ...this.#options.environment, ...this.#variables };
    return run([MAIN, ...line], { directory: this.#directory, environment });
  }

  /** Ends it at once, or as a service manager does. Resolves when it is gone. */
  async end(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const child = this.#process;
    if (child === undefined || !this.isRunning) return;
    const exited = once(child, "exit");
    child.kill(signal);
    await exited;
  }

  /** All that it has written to its log. */
  log(): Promise<string> {
    return readFile(this.#logFile, "utf8");
  }

  /** What lives on its heap, after everything else was collected. It has to be inspected. */
  async heapBytes(): Promise<number> {
    const [, address = ""] =
      [...(await this.log()).matchAll(/Debugger listening on (ws:\S+)/g)].at(-1) ?? [];
    const inspector = new WebSocket(address);
    await once(inspector, "open");
    try {
      const ask = async (id: number, method: string): Promise<unknown> => {
        inspector.send(JSON.stringify({ id, method }));
        for (;;) {
          const [data] = (await once(inspector, "message")) as [Buffer];
          const message = JSON.parse(data.toString()) as { id?: number; result?: unknown };
          if (message.id === id) return message.result;
        }
      };
      await ask(1, "HeapProfiler.collectGarbage");
      const { usedSize } = (await ask(2, "Runtime.getHeapUsage")) as { usedSize: number };
      return usedSize;
    } finally {
      inspector.close();
    }
  }

  /** Ends it and removes what it left. */
  async stop(): Promise<void> {
    await this.end("SIGTERM");
    await rm(this.#directory, { recursive: true, force: true });
  }

  get #logFile(): string {
    return join(this.#directory, "control-plane.log");
  }
}

async function answers(url: string): Promise<boolean> {
  // Its front page asks who wants to see it.
  const response = await fetch(`${url}/openapi.json`);
  await response.body?.cancel();
  return response.ok;
}

/** A call of the API below the account, which must succeed; once more as long as the token makes too many. */
export async function callApi(
  plane: Pick<ControlPlaneProcess, "url" | "account" | "token">,
  method: string,
  path: string,
  body?: unknown,
): Promise<unknown> {
  const response = await fetch(`${plane.url}/client/v4/accounts/${plane.account}${path}`, {
    method,
    headers: { authorization: `Bearer ${plane.token}` },
    ...(body === undefined ? {} : { body: body instanceof FormData ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  if (response.status === 429) {
    await wait(Number(response.headers.get("retry-after")) * 1_000);
    return callApi(plane, method, path, body);
  }
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return (JSON.parse(text) as { result: unknown }).result;
}
