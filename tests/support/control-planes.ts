import { spawn, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { S3_BUCKET, S3_CREDENTIALS, S3Server } from "@atoll/control-plane/test-support/s3-server";
import { PostgresServer } from "@atoll/kv-store/test-support/postgres-server";
import { MAIN, QUIET_WRANGLER, run, send, wranglerScript, type CommandResult } from "./atoll.ts";
import { eventually } from "./eventually.ts";
import { findFreePorts } from "./free-ports.ts";

/** The nodes of the fleet. */
export const NODE_NAMES = ["fra", "nrt"] as const;
export type NodeName = (typeof NODE_NAMES)[number];

/** One process of the fleet, which tests kill. */
class Part {
  readonly #arguments: ReadonlyArray<string>;
  readonly #environment: NodeJS.ProcessEnv;
  readonly #logFile: string;
  #process: ChildProcess | undefined;

  constructor(options: {
    readonly arguments: ReadonlyArray<string>;
    readonly environment: NodeJS.ProcessEnv;
    readonly logFile: string;
  }) {
    this.#arguments = options.arguments;
    this.#environment = options.environment;
    this.#logFile = options.logFile;
  }

  start(): void {
    const child = spawn(process.execPath, [MAIN, ...this.#arguments], {
      env: this.#environment,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const log = createWriteStream(this.#logFile, { flags: "a" });
    child.stdout.pipe(log, { end: false });
    child.stderr.pipe(log, { end: false });
    this.#process = child;
  }

  /** Resolves when it is gone. */
  async end(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill(signal);
    await exited;
  }
}

interface NodeStatus {
  readonly name: string;
  readonly connected: boolean;
  readonly cells: ReadonlyArray<{ readonly workers: ReadonlyArray<string> }>;
}

/** Two control planes on one PostgreSQL and one bucket, as operators run them, and two nodes that know both. */
export class ControlPlanes {
  readonly postgres: PostgresServer;
  readonly s3: S3Server;
  /** Addresses of the control planes. */
  readonly urls: ReadonlyArray<string>;
  readonly #directory: string;
  readonly #planes: ReadonlyArray<Part>;
  readonly #nodes: ReadonlyArray<Part>;
  readonly #nodePort: number;
  /** The variables that point wrangler at the first control plane. */
  readonly #variables: Readonly<Record<string, string>>;

  private constructor(parts: {
    readonly postgres: PostgresServer;
    readonly s3: S3Server;
    readonly urls: ReadonlyArray<string>;
    readonly directory: string;
    readonly planes: ReadonlyArray<Part>;
    readonly nodes: ReadonlyArray<Part>;
    readonly nodePort: number;
    readonly variables: Readonly<Record<string, string>>;
  }) {
    this.postgres = parts.postgres;
    this.s3 = parts.s3;
    this.urls = parts.urls;
    this.#directory = parts.directory;
    this.#planes = parts.planes;
    this.#nodes = parts.nodes;
    this.#nodePort = parts.nodePort;
    this.#variables = parts.variables;
  }

  static async start(): Promise<ControlPlanes> {
    const directory = await mkdtemp(join(tmpdir(), "atoll-planes-"));
    const postgres = await PostgresServer.start();
    const s3 = await S3Server.start();
    const database = ["--database", postgres.url(await postgres.createDatabase())];
    const port = await findFreePorts(2 + NODE_NAMES.length);
    const environment = {
      ...process.env,
      ATOLL_MASTER_KEY: randomBytes(32).toString("hex"),
      AWS_ACCESS_KEY_ID: S3_CREDENTIALS.accessKeyId,
      AWS_SECRET_ACCESS_KEY: S3_CREDENTIALS.secretAccessKey,
    };
    const bucket = ["--blob-store", `s3://${S3_BUCKET}/fleet`, "--s3-endpoint", s3.endpoint];
    const dataOf = (name: string): string => join(directory, name);
    const part = (name: string, line: ReadonlyArray<string>): Part =>
      new Part({
        arguments: line,
        environment,
        logFile: join(directory, `${name.replace("/", "-")}.log`),
      });
    const urls = [0, 1].map((index) => `http://127.0.0.1:${port + index}`);
    const planes = [0, 1].map((index) =>
      part(`plane-${index}`, [
        ...["control-plane", "--data", dataOf(`plane-${index}`), ...database],
        ...bucket,
        ...["--port", String(port + index), "--ingress-port", String(port + 2)],
        ...["--wrangler-env", dataOf(`wrangler-${index}.env`)],
      ]),
    );
    for (const plane of planes) plane.start();
    for (const url of urls) {
      await eventually(() => answers(url), { what: `${url} answers` });
    }
    const nodes: Part[] = [];
    for (const [index, name] of NODE_NAMES.entries()) {
      const issue = ["join-token", "--data", dataOf("plane-1"), ...database];
      const issued = await run([MAIN, ...issue], { directory, environment });
      if (issued.exitCode !== 0) throw new Error(issued.output);
      const node = part(name, [
        // Each begins with another control plane.
        ...["node", "--control-plane", [...urls.slice(index), ...urls.slice(0, index)].join(",")],
        ...["--region", name, "--data", dataOf(name)],
        ...["--port", String(port + 2 + index), "--join", issued.output.trim()],
      ]);
      node.start();
      nodes.push(node);
    }
    const variables = await readVariables(dataOf("wrangler-0.env"));
    const nodePort = port + 2;
    return new ControlPlanes({ postgres, s3, urls, directory, planes, nodes, nodePort, variables });
  }

  /** Starts a control plane again after `kill`. Resolves when it answers. */
  async restart(index: number): Promise<void> {
    this.#planes[index]?.start();
    const url = this.urls[index] ?? "";
    await eventually(() => answers(url), { what: `${url} answers again` });
  }

  async kill(index: number): Promise<void> {
    await this.#planes[index]?.end("SIGKILL");
  }

  /** Calls a control plane below the account's path. Rejected when it can't be reached. */
  async call(
    index: number,
    path: string,
    init: RequestInit = {},
  ): Promise<{ readonly status: number; readonly result: unknown; readonly text: string }> {
    const account = this.#variables["CLOUDFLARE_ACCOUNT_ID"];
    const response = await fetch(`${this.urls[index]}/client/v4/accounts/${account}${path}`, {
      ...init,
      headers: { authorization: `Bearer ${this.#variables["CLOUDFLARE_API_TOKEN"]}` },
    });
    const text = await response.text();
    const { result } = JSON.parse(text) as { result: unknown };
    return { status: response.status, result, text };
  }

  /** What a control plane says of the nodes: which are connected, to whichever control plane. */
  async connected(index: number): Promise<ReadonlyArray<string>> {
    const nodes = await this.#nodeStatuses(index);
    return nodes.filter(({ connected }) => connected).map(({ name }) => name);
  }

  /** What it says that each node has of a worker: how many cells. */
  async cellCounts(index: number, worker: string): Promise<ReadonlyArray<number>> {
    const nodes = await this.#nodeStatuses(index);
    const isOf = (name: string): boolean => name === worker || name.endsWith(`/${worker}`);
    return nodes.map(({ cells }) => cells.filter(({ workers }) => workers.some(isOf)).length);
  }

  async #nodeStatuses(index: number): Promise<ReadonlyArray<NodeStatus>> {
    const response = await fetch(`${this.urls[index]}/console/status`, {
      headers: { authorization: `Bearer ${this.#variables["CLOUDFLARE_API_TOKEN"]}` },
    });
    return ((await response.json()) as { nodes: ReadonlyArray<NodeStatus> }).nodes;
  }

  portOf(node: NodeName): number {
    return this.#nodePort + NODE_NAMES.indexOf(node);
  }

  /** What a worker answers on a node. */
  async get(node: NodeName, worker: string, init: { readonly body?: string } = {}) {
    const port = this.portOf(node);
    return send(`http://127.0.0.1:${port}/`, {
      headers: { host: `${worker}.localhost:${port}` },
      ...(init.body === undefined ? {} : { method: "POST", body: init.body }),
    });
  }

  /** The variables that point wrangler at one of the control planes. */
  variablesFor(index: number): Readonly<Record<string, string>> {
    return { ...this.#variables, CLOUDFLARE_API_BASE_URL: `${this.urls[index]}/client/v4` };
  }

  /** Runs wrangler against one of the control planes. */
  wrangler(index: number, directory: string, line: ReadonlyArray<string>): Promise<CommandResult> {
    const environment = { ...process.env, ...this.variablesFor(index), ...QUIET_WRANGLER };
    return run([wranglerScript("4.164"), ...line], { directory, environment });
  }

  async stop(): Promise<void> {
    await Promise.all(this.#nodes.map((node) => node.end("SIGTERM")));
    await Promise.all(this.#planes.map((plane) => plane.end("SIGTERM")));
    await this.postgres.remove();
    await this.s3.remove();
    await rm(this.#directory, { recursive: true, force: true });
  }
}

async function answers(url: string): Promise<boolean> {
  const response = await fetch(`${url}/openapi.json`);
  await response.body?.cancel();
  return response.ok;
}

async function readVariables(file: string): Promise<Record<string, string>> {
  const lines = (await readFile(file, "utf8")).matchAll(/^export ([A-Z_]+)=(.*)$/gm);
  return Object.fromEntries([...lines].map(([, name, value]) => [name ?? "", value ?? ""]));
}
