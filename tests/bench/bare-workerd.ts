import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { hold } from "./benchmark.ts";

export interface BareWorkerdOptions {
  /** Source of the only module. */
  readonly source: string;
  /** A unix socket whose HTTP server the module calls as `env.EXTERNAL`. */
  readonly externalSocketPath?: string;
  /** A node's socket of KV, where the module has the namespace of the capability as `env.KV`. */
  readonly kv?: { readonly socketPath: string; readonly capability: string };
  /** Source of a worker that the module may load, as the text module `loaded.txt`, by `env.LOADER`. */
  readonly loadedSource?: string;
  /** Whether the module has a namespace of the KV that is bundled with workerd, as `env.KV`. */
  readonly bundledKv?: boolean;
}

// Starting takes 50 ms; what takes this long has said on standard error why it won't start.
const START_MS = 10_000;

/** The workerd binary that Atoll's nodes run: resolved as their package resolves it. */
export function nodeWorkerdPath(): string {
  const runtime = createRequire(import.meta.url).resolve("@atoll/edge-runtime");
  return (createRequire(runtime)("workerd") as { readonly default: string }).default;
}

/** workerd as it comes, with one worker on a TCP socket: what every layer of Atoll is compared with. */
export class BareWorkerd {
  readonly url: string;
  /** From the start of the process until it listened. */
  readonly startMs: number;
  readonly #child: ChildProcess;
  readonly #directory: string;

  private constructor(parts: {
    readonly child: ChildProcess;
    readonly directory: string;
    readonly port: number;
    readonly startMs: number;
  }) {
    this.startMs = parts.startMs;
    this.#child = parts.child;
    this.#directory = parts.directory;
    this.url = `http://127.0.0.1:${parts.port}`;
  }

  /** Resolves when it listens. It ends with `resources`. */
  static start(resources: AsyncDisposableStack, options: BareWorkerdOptions): Promise<BareWorkerd> {
    return hold(
      resources,
      () => BareWorkerd.#start(options),
      (workerd) => workerd.stop(),
    );
  }

  static async #start(options: BareWorkerdOptions): Promise<BareWorkerd> {
    const directory = await mkdtemp(join(tmpdir(), "bare-workerd-"));
    await writeFile(join(directory, "index.js"), options.source);
    await writeFile(join(directory, "config.capnp"), config(options));
    if (options.externalSocketPath !== undefined) {
      await symlink(options.externalSocketPath, join(directory, "external.sock"));
    }
    if (options.kv !== undefined) {
      await symlink(options.kv.socketPath, join(directory, "kv.sock"));
    }
    if (options.loadedSource !== undefined) {
      await writeFile(join(directory, "loaded.txt"), options.loadedSource);
    }
    if (options.bundledKv === true) await mkdir(join(directory, "kv"));
    // The loader and the bundled KV are of workerd's experiments.
    const isExperimental = options.loadedSource !== undefined || options.bundledKv === true;
    const flags = isExperimental ? ["--experimental"] : [];
    const begunMs = performance.now();
    const child = spawn(nodeWorkerdPath(), ["serve", "config.capnp", "--control-fd=3", ...flags], {
      cwd: directory,
      stdio: ["ignore", "inherit", "inherit", "pipe"],
    });
    try {
      // The fourth stream was asked for as a pipe, so it is there and readable.
      const port = await listeningPort(child.stdio[3] as Readable);
      return new BareWorkerd({ child, directory, port, startMs: performance.now() - begunMs });
    } catch (error) {
      child.kill("SIGKILL");
      await rm(directory, { recursive: true, force: true });
      throw error;
    }
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Kills it, if it runs. */
  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const exited = once(this.#child, "exit");
      this.#child.kill("SIGKILL");
      await exited;
    }
    await rm(this.#directory, { recursive: true, force: true });
  }
}

async function listeningPort(control: Readable): Promise<number> {
  const lines = createInterface({ input: control });
  try {
    const [line] = await once(lines, "line", { signal: AbortSignal.timeout(START_MS) });
    return (JSON.parse(String(line)) as { readonly port: number }).port;
  } finally {
    lines.close();
  }
}

// As the header of the bundled module wants it.
const BUNDLED_KV = `,
    (name = "kv", worker = (
      modules = [(name = "kv.js", bundled = "/workerd/kv.js")],
      compatibilityDate = "2026-06-01",
      durableObjectNamespaces = [(className = "KVNamespace", uniqueKey = "kv", enableSql = true)],
      durableObjectStorage = (localDisk = "disk"),
      bindings = [
        (name = "SHARD", durableObjectNamespace = "KVNamespace"),
        (name = "BLOBS", service = "disk"),
      ],
    )),
    (name = "disk", disk = (path = "kv", writable = true))`;
const BUNDLED_KV_BINDING = `(name = "KV", kvNamespace = (name = "kv", props = (json = "{\\"namespace\\": \\"bench\\"}")))`;

function config(options: BareWorkerdOptions): string {
  const { externalSocketPath, kv, loadedSource, bundledKv } = options;
  const modules = [`(name = "index.js", esModule = embed "index.js")`];
  const bindings: string[] = [];
  const services: string[] = [];
  if (externalSocketPath !== undefined) {
    bindings.push(`(name = "EXTERNAL", service = "external")`);
    services.push(`, (name = "external", external = (address = "unix:external.sock", http = ()))`);
  }
  if (kv !== undefined) {
    const header = `(name = "x-atoll-kv", value = "${kv.capability}")`;
    bindings.push(`(name = "KV", kvNamespace = "kv")`);
    services.push(
      `, (name = "kv", external = (address = "unix:kv.sock", http = (injectRequestHeaders = [${header}])))`,
    );
  }
  if (loadedSource !== undefined) {
    modules.push(`(name = "loaded.txt", text = embed "loaded.txt")`);
    bindings.push(`(name = "LOADER", workerLoader = (id = "loader"))`);
  }
  if (bundledKv === true) {
    bindings.push(BUNDLED_KV_BINDING);
    services.push(BUNDLED_KV);
  }
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "worker", worker = (
      modules = [${modules.join(", ")}],
      compatibilityDate = "2026-06-01",
      bindings = [${bindings.join(", ")}],
    ))${services.join("")}
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "worker")],
);
`;
}
