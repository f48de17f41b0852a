import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createRequire } from "node:module";
import { request } from "undici";
import { eventually } from "./eventually.ts";
import { findFreePorts } from "./free-ports.ts";

const ROOT = join(import.meta.dirname, "..", "..");
/** The script of the `atoll` command. */
export const MAIN = join(ROOT, "cli", "src", "main.ts");

export const REGIONS = ["iad", "fra", "nrt"] as const;
export type RegionName = (typeof REGIONS)[number];

/** The wranglers that Atoll promises to serve, the newest first, by the package that holds each. */
export const WRANGLERS = { "4.164": "wrangler", "4.86": "wrangler-4-86" } as const;
export type WranglerRelease = keyof typeof WRANGLERS;

/** Whether the tests run that `npm test` leaves out to end within its time: with `ATOLL_THOROUGH` set. */
export const IS_THOROUGH = process.env["ATOLL_THOROUGH"] !== undefined;

/** All of them, for what shows a release's own words. */
export const ALL_RELEASES = Object.keys(WRANGLERS) as ReadonlyArray<WranglerRelease>;

/** Those for calls that all make alike: the newest, and thoroughly all. */
export const EVERYDAY_RELEASES = IS_THOROUGH ? ALL_RELEASES : ALL_RELEASES.slice(0, 1);

/** The ingresses for what takes minutes behind each; the conformance suite always runs on both. */
export const EVERYDAY_INGRESSES: ReadonlyArray<"haproxy" | "builtin"> = IS_THOROUGH
  ? ["haproxy", "builtin"]
  : ["haproxy"];

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

export interface CommandResult {
  readonly exitCode: number;
  /** Standard output and standard error, in the order of arrival. */
  readonly output: string;
  readonly stdout: string;
  readonly stderr: string;
}

/** Region of an Atoll under test. */
interface TestRegion {
  readonly url: string;
  readonly port: number;
}

/** A whole Atoll of real processes, in a directory of its own, as `npm start` makes it. */
export interface TestAtoll {
  readonly dataDirectory: string;
  readonly url: string;
  readonly regions: Readonly<Record<RegionName, TestRegion>>;
  /** The variables that point wrangler here. */
  readonly variables: Readonly<Record<string, string>>;
  /** Process ids by name: `control-plane`, `iad`, `fra`, `nrt`. */
  pids(): Promise<Readonly<Record<string, number>>>;
  /** Runs wrangler in a project's folder. */
  wrangler(
    directory: string,
    commandArguments: ReadonlyArray<string>,
    options?: {
      readonly release?: WranglerRelease;
      readonly input?: string;
      /** Added to the environment; what is `undefined` is taken out of it. */
      readonly environment?: Readonly<Record<string, string | undefined>>;
    },
  ): Promise<CommandResult>;
  /** Runs the `atoll` command. */
  atoll(commandArguments: ReadonlyArray<string>, directory?: string): Promise<CommandResult>;
  /** Requests `path` of `host` (without a port) in a region. */
  get(region: RegionName, host: string, path: string, options?: RequestOptions): Promise<Answer>;
  /** Calls the API as wrangler does; a path such as `/accounts/<id>/workers/scripts`. */
  api(path: string, options?: RequestOptions): Promise<Answer>;
  /** Stops everything as Ctrl-C does, and starts again on the same directory. */
  restart(): Promise<void>;
  /** Stops everything as Ctrl-C does. */
  pause(): Promise<void>;
  /** Starts again on the same directory, with more in the environment of every part. */
  resume(environment?: Readonly<Record<string, string>>): Promise<void>;
  /** Kills `atoll up` itself, at once; what it started has to end by itself. */
  kill(): Promise<void>;
  /** Stops everything and removes the directory. Fails when a process is left. */
  stop(): Promise<void>;
}

interface RequestOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

/**
 * Without the example site, which takes a third of the time that everything else does, unless `withStarter`.
 * `environment` is added to that of every part of Atoll, and not to wrangler's.
 */
export async function startAtoll(
  options: {
    readonly environment?: Readonly<Record<string, string>>;
    readonly withStarter?: boolean;
  } = {},
): Promise<TestAtoll> {
  const parent = await mkdtemp(join(tmpdir(), "atoll-"));
  const dataDirectory = join(parent, "data");
  if (options.withStarter !== true) await leaveOutStarter(dataDirectory);
  const port = await findFreePorts(1 + REGIONS.length);
  const environment = {
    ...process.env,
    ...options.environment,
    ATOLL_DATA: dataDirectory,
    ATOLL_PORT: String(port),
  };
  let up = await startUp(environment, parent);
  const variables = await readVariables(join(dataDirectory, "wrangler.env"));
  const url = `http://127.0.0.1:${port}`;
  const regions = Object.fromEntries(
    REGIONS.map((region, index) => {
      const regionPort = port + 1 + index;
      return [region, { port: regionPort, url: `http://127.0.0.1:${regionPort}` }];
    }),
  ) as Record<RegionName, TestRegion>;
  const client = { ...variables, ...QUIET_WRANGLER };

  return {
    dataDirectory,
    url,
    regions,
    variables,
    pids: async () => JSON.parse(await readFile(join(dataDirectory, "processes.json"), "utf8")),
    wrangler: (directory, commandArguments, options = {}) =>
      run([wranglerScript(options.release ?? "4.164"), ...commandArguments], {
        directory,
        environment: { ...process.env, ...client, ...options.environment },
        ...(options.input === undefined ? {} : { input: options.input }),
      }),
    atoll: (commandArguments, directory = parent) =>
      run([MAIN, ...commandArguments], { directory, environment: { ...environment, ...client } }),
    get: (region, host, path, options = {}) =>
      send(`${regions[region].url}${path}`, {
        ...options,
        headers: { host: `${host}:${regions[region].port}`, ...options.headers },
      }),
    api: (path, options = {}) =>
      send(`${url}/client/v4${path}`, {
        ...options,
        headers: {
          authorization: `Bearer ${variables["CLOUDFLARE_API_TOKEN"]}`,
          ...options.headers,
        },
      }),
    restart: async () => {
      await stopUp(up);
      up = await startUp(environment, parent);
    },
    pause: () => stopUp(up),
    resume: async (more = {}) => {
      up = await startUp({ ...environment, ...more }, parent);
    },
    kill: async () => {
      const exited = once(up, "exit");
      up.kill("SIGKILL");
      await exited;
    },
    stop: async () => {
      const pids = Object.values(
        JSON.parse(await readFile(join(dataDirectory, "processes.json"), "utf8")) as object,
      ) as number[];
      await stopUp(up);
      for (const pid of pids) {
        await eventually(() => !isAlive(pid), { what: `process ${pid} is gone` });
      }
      await rm(parent, { recursive: true, force: true });
    },
  };
}

/** Makes the folder as of an Atoll whose example site was deployed, and deleted again. */
async function leaveOutStarter(dataDirectory: string): Promise<void> {
  await mkdir(dataDirectory);
  await writeFile(join(dataDirectory, "starter-deployed"), "");
}

// What keeps a wrangler of a test to itself: no questions, no reports, no look-ups elsewhere.
export const QUIET_WRANGLER = {
  CI: "true",
  WRANGLER_SEND_METRICS: "false",
  WRANGLER_HIDE_BANNER: "true",
  CLOUDFLARE_CF_FETCH_ENABLED: "false",
  NO_COLOR: "1",
};

async function startUp(environment: NodeJS.ProcessEnv, directory: string): Promise<ChildProcess> {
  const up = spawn(process.execPath, [MAIN, "up"], {
    cwd: directory,
    env: { ...environment, NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const output: string[] = [];
  up.stdout.on("data", (piece: Buffer) => output.push(piece.toString()));
  up.stderr.on("data", (piece: Buffer) => output.push(piece.toString()));
  const outcome = await eventually(
    () => {
      if (up.exitCode !== null || up.signalCode !== null) return "ended";
      return output.join("").includes("Ctrl-C stops everything") && "ready";
    },
    // Five processes of Node, and what each of them starts.
    { what: "atoll up is ready", deadlineMs: 120_000 },
  ).catch((error: unknown) => {
    up.kill("SIGTERM");
    throw new Error(`atoll up did not start:\n${output.join("")}`, { cause: error });
  });
  if (outcome === "ended") throw new Error(`atoll up ended:\n${output.join("")}`);
  return up;
}

async function stopUp(up: ChildProcess): Promise<void> {
  if (up.exitCode !== null || up.signalCode !== null) return;
  const exited = once(up, "exit");
  up.kill("SIGINT");
  await exited;
}

/** Whether a process exists. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    // ESRCH: no such process. EPERM can't be: the tests' processes are our own.
    return false;
  }
}

async function readVariables(file: string): Promise<Record<string, string>> {
  const lines = (await readFile(file, "utf8")).matchAll(/^export ([A-Z_]+)=(.*)$/gm);
  return Object.fromEntries([...lines].map(([, name, value]) => [name ?? "", value ?? ""]));
}

/** The program of a wrangler. */
export function wranglerScript(release: WranglerRelease): string {
  const manifest = createRequire(import.meta.url).resolve(`${WRANGLERS[release]}/package.json`);
  return join(dirname(manifest), "bin", "wrangler.js");
}

/** Runs a program of Node to its end. */
export function run(
  commandArguments: ReadonlyArray<string>,
  options: {
    readonly directory: string;
    readonly environment: NodeJS.ProcessEnv;
    readonly input?: string;
  },
): Promise<CommandResult> {
  const child = spawn(process.execPath, commandArguments, {
    cwd: options.directory,
    env: options.environment,
    stdio: ["pipe", "pipe", "pipe"],
  });
  const output: string[] = [];
  const streams = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (piece: string) => {
      output.push(piece);
      streams[name] += piece;
    });
  }
  child.stdin.end(options.input ?? "");
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) =>
      resolve({ exitCode: code ?? 1, output: output.join(""), ...streams }),
    );
  });
}

/** Sends a request, and reads its answer to the end. */
export async function send(url: string, options: RequestOptions): Promise<Answer> {
  const response = await request(url, {
    method: options.method ?? "GET",
    headers: { ...options.headers },
    body: options.body ?? null,
  });
  return {
    status: response.statusCode,
    headers: response.headers,
    body: await response.body.text(),
  };
}
