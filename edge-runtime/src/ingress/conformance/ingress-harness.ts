import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import {
  createServer,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  request as httpRequest,
  type RequestListener,
  type Server,
} from "node:http";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { Region, type WorkerKey } from "@atoll/control-plane/contract";
import { isEnding } from "../../cells/process-table.ts";
import { installedWorkerdPath } from "../../cells/workerd-host.ts";
import type {
  Activation,
  Activator,
  CellLoss,
  Ingress,
  OnServed,
  ServedRequest,
} from "../ingress.ts";
import type { TargetKey } from "../target-key.ts";

/** What the suite needs to choose about an ingress; bounds are small enough to be waited for and filled. */
interface OpenIngressOptions {
  readonly region: Region;
  readonly activator: Activator;
  readonly onServed: OnServed;
  readonly drainMs: number;
  readonly requestHeadMs: number;
  readonly webSocketsMax: number;
  /** As ever unless a test is about it: tests hold answers back for as long as they need. */
  readonly answerIdleMs?: number;
}

/** A test that one ingress does not pass. */
interface SkippedTest {
  /** Its title. */
  readonly test: string;
  /** Why what it does instead is sound. */
  readonly reason: string;
}

export interface IngressBackend {
  open(options: OpenIngressOptions): Promise<Ingress>;
  /** Whether names of headers keep their upper-case letters on the way. */
  readonly keepsHeaderCase: boolean;
  readonly skip?: ReadonlyArray<SkippedTest>;
}

/** A cell that a test can look into: a server of Node's on a unix socket. */
export interface ScriptedCell {
  readonly socketPath: string;
  readonly server: Server;
  /** Connections that the ingress has made so far. */
  connectionCount(): number;
}

/** An answer as a client saw it. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: ReadonlyArray<string>;
  readonly trailers: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly text: string;
}

export interface Call {
  readonly host?: string;
  readonly path?: string;
  readonly method?: string;
  readonly headers?: OutgoingHttpHeaders;
  /** Names and values in turn, the host among them; in place of `host` and `headers`. */
  readonly rawHeaders?: ReadonlyArray<string>;
  readonly body?: string | Buffer | Readable;
}

export const DRAIN_MS = 1_000;
export const REQUEST_HEAD_MS = 1_000;
export const WEB_SOCKETS_MAX = 4;

export function worker(name: string): WorkerKey {
  return `${"0".repeat(32)}/${name}`;
}

/** An ingress under test, with cells to route to; everything is taken down by `dispose`. */
export class IngressHarness {
  readonly ingress: Ingress;
  /** What the ingress told of requests that ended. */
  readonly served: ReadonlyArray<ServedRequest>;
  /** What activating a target does; a test replaces it. */
  activate: (target: TargetKey) => Promise<Activation>;
  /** Why a cell is said to have broken off what it had; a test replaces it. One that is gone, by itself. */
  lossOf: (socketPath: string) => Promise<CellLoss | undefined> = async (socketPath) =>
    this.#isAlive.get(socketPath)?.() === true ? "alive" : undefined;
  /** Whether each cell is, by its socket. */
  readonly #isAlive = new Map<string, () => boolean>();
  readonly #folder: string;
  readonly #cleanups: Array<() => Promise<void>> = [];
  #cells = 0;

  static async open(
    backend: IngressBackend,
    bounds: Pick<OpenIngressOptions, "answerIdleMs"> = {},
  ): Promise<IngressHarness> {
    const folder = await mkdtemp(join(tmpdir(), "ingress-"));
    const activator: Activator = {
      activate: (key) => harness.activate(key),
      lossOf: (socketPath) => harness.lossOf(socketPath),
    };
    const served: ServedRequest[] = [];
    const ingress = await backend.open({
      region: Region.parse("fra"),
      activator,
      onServed: (request) => served.push(request),
      drainMs: DRAIN_MS,
      requestHeadMs: REQUEST_HEAD_MS,
      webSocketsMax: WEB_SOCKETS_MAX,
      ...bounds,
    });
    const harness = new IngressHarness(ingress, folder, served);
    return harness;
  }

  private constructor(ingress: Ingress, folder: string, served: ReadonlyArray<ServedRequest>) {
    this.ingress = ingress;
    this.served = served;
    this.#folder = folder;
    this.activate = (key) => Promise.reject(new Error(`${key} was activated unexpectedly`));
  }

  get port(): number {
    return Number(new URL(this.ingress.url).port);
  }

  newSocketPath(): string {
    this.#cells += 1;
    return join(this.#folder, `cell${this.#cells}.sock`);
  }

  /** Starts a cell and routes `test.localhost` to it. */
  async serve(listener: RequestListener): Promise<ScriptedCell> {
    const cell = await this.startCell(listener);
    this.routeTo(cell.socketPath);
    await this.ingress.settled();
    return cell;
  }

  routeTo(...socketPaths: ReadonlyArray<string>): void {
    this.ingress.setRoutes([{ pattern: "test.localhost/*", worker: worker("test") }]);
    this.ingress.publish(worker("test"), socketPaths);
  }

  async startCell(listener: RequestListener): Promise<ScriptedCell> {
    const socketPath = this.newSocketPath();
    const server = createServer(
      { keepAliveTimeout: 0, requestTimeout: 0, maxHeaderSize: 64 * 1024 },
      listener,
    );
    let connections = 0;
    const sockets = new Set<Socket>();
    server.on("connection", (socket) => {
      connections += 1;
      sockets.add(socket);
    });
    server.listen(socketPath);
    await once(server, "listening");
    this.#isAlive.set(socketPath, () => server.listening);
    this.#cleanups.push(async () => {
      for (const socket of sockets) socket.destroy();
      if (!server.listening) return;
      server.close();
      await once(server, "close");
    });
    return { socketPath, server, connectionCount: () => connections };
  }

  /** Starts a real cell and routes `test.localhost` to it. Returns what ends its process. */
  async serveWorker(script: string): ReturnType<IngressHarness["startWorker"]> {
    const worker = await this.startWorker(script);
    this.routeTo(worker.socketPath);
    await this.ingress.settled();
    return worker;
  }

  async startWorker(
    script: string,
  ): Promise<{ readonly socketPath: string; readonly kill: () => Promise<void> }> {
    const socketPath = this.newSocketPath();
    const folder = await mkdtemp(join(this.#folder, "workerd-"));
    await writeFile(join(folder, "worker.js"), script);
    await writeFile(join(folder, "config.capnp"), workerConfig(socketPath));
    const child = spawn(installedWorkerdPath(), ["serve", "config.capnp", "--control-fd=3"], {
      cwd: folder,
      stdio: ["ignore", "ignore", "ignore", "pipe"],
    });
    const kill = async (): Promise<void> => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGKILL");
      await once(child, "exit");
    };
    this.#cleanups.push(kill);
    const control = createInterface({ input: child.stdio[3] as Readable });
    await within(once(control, "line"), "workerd to listen");
    this.#isAlive.set(socketPath, () => !isEnding(child.pid ?? 0));
    return { socketPath, kill };
  }

  /** Makes one request on a connection of its own. */
  async call(call: Call = {}): Promise<Answer> {
    await this.ingress.settled();
    return new Promise((resolve, reject) => {
      const { host = "test.localhost", headers = {}, body } = call;
      const request = httpRequest({
        port: this.port,
        host: "127.0.0.1",
        method: call.method ?? "GET",
        path: call.path ?? "/",
        headers: call.rawHeaders ?? { host, ...headers },
        setHost: false,
        agent: false,
      });
      request.on("error", reject);
      request.on("response", (response) => {
        const pieces: Buffer[] = [];
        response.on("data", (piece: Buffer) => pieces.push(piece));
        response.on("error", reject);
        response.on("end", () => {
          const whole = Buffer.concat(pieces);
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            rawHeaders: response.rawHeaders,
            trailers: response.trailers,
            body: whole,
            text: whole.toString(),
          });
        });
      });
      if (typeof body === "object" && "pipe" in body) body.pipe(request);
      else request.end(body);
    });
  }

  /** A connection for requests that no HTTP library would make. */
  async dial(): Promise<Socket> {
    await this.ingress.settled();
    const socket = connect(this.port, "127.0.0.1");
    await once(socket, "connect");
    this.#cleanups.push(async () => {
      socket.destroy();
    });
    return socket;
  }

  /** Sends bytes as they are; all that comes back until the connection is closed. */
  async exchange(bytes: string | Buffer): Promise<string> {
    const socket = await this.dial();
    socket.write(bytes);
    return readAll(socket);
  }

  async dispose(): Promise<void> {
    await Promise.all(this.#cleanups.map((cleanup) => cleanup()));
    await this.ingress.close();
    await rm(this.#folder, { recursive: true });
  }
}

/** Waits until a connection is closed, in whatever way. */
export function closed(socket: Socket): Promise<void> {
  socket.on("error", () => undefined);
  const closing = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  return within(closing, "the connection to be closed");
}

/** All that arrives on a socket until its end. */
async function readAll(socket: Socket): Promise<string> {
  const pieces: Buffer[] = [];
  socket.on("data", (piece: Buffer) => pieces.push(piece));
  await closed(socket);
  return Buffer.concat(pieces).toString("latin1");
}

/** Everything that arrives on a socket until `isEnough` says so. */
export function readUntil(socket: Socket, isEnough: (text: string) => boolean): Promise<string> {
  let text = "";
  const reading = new Promise<string>((resolve, reject) => {
    const onData = (piece: Buffer): void => {
      text += piece.toString("latin1");
      if (!isEnough(text)) return;
      socket.off("data", onData);
      resolve(text);
    };
    socket.on("data", onData);
    socket.once("close", () => reject(new Error(`closed after: ${text}`)));
  });
  return within(reading, "enough bytes");
}

/** Fails with the name of what did not come, instead of letting the test run into its timeout. */
export async function within<Result>(
  promise: Promise<Result>,
  what: string,
  limitMs = 10_000,
): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${limitMs} ms`)), limitMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits until the condition holds. */
export async function until(isSo: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const poll = async (): Promise<void> => {
    while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  await within(poll(), what);
}

function workerConfig(socketPath: string): string {
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "internet", external = (address = "unix:nowhere.sock", http = (style = proxy))),
  ],
  sockets = [(
    name = "http", address = "unix:${socketPath}", service = "main",
    http = (cfBlobHeader = "x-atoll-cf"),
  )],
);
const worker :Workerd.Worker = (
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  compatibilityDate = "2026-11-01",
  compatibilityFlags = ["enable_request_signal"],
);
`;
}
