import type { unstable_startWorker } from "wrangler";
import type { WranglerEnvironment } from "../wrangler-environment.ts";
import { findProjectConfig, parseProject, type Project } from "./project.ts";
import { RemoteKv } from "./remote-kv.ts";

export interface DevSessionOptions {
  readonly directory: string;
  /** Port on 127.0.0.1; 0 takes any. */
  readonly port: number;
  /** Where to find the namespaces that KV bindings use instead of local ones. */
  readonly remoteKv?: WranglerEnvironment;
}

/** A project running in Miniflare. */
export interface DevSession {
  readonly url: URL;
  /** Ends the server and everything that it started. May be called twice. */
  dispose(): Promise<void>;
}

type DevWorker = Awaited<ReturnType<typeof unstable_startWorker>>;

/**
 * Starts the project by wrangler's own development server, as a library: configuration, bundling,
 * assets, state in `.wrangler/state` and reloading are those of `wrangler dev`, on the workerd of the
 * fleet. Resolves when it listens; while the project can't be built, the error is printed and requests
 * wait for the next save. Rejected with a `UsageError` when it can't be started as it is.
 */
export async function startDevSession(options: DevSessionOptions): Promise<DevSession> {
  const config = findProjectConfig(options.directory);
  keepWranglerToItself();
  // Loaded here because it takes most of a second, which no other command should pay.
  const wrangler = await import("wrangler");
  const readProject = (): Project =>
    parseProject(wrangler.unstable_readConfig({ config }, { hideWarnings: true }));

  const remoteKv = options.remoteKv && (await RemoteKv.start(options.remoteKv));
  try {
    const bindings = await remoteKv?.bindingsFor(readProject());
    const worker = await wrangler.unstable_startWorker({
      config,
      ...(bindings !== undefined && { bindings }),
      dev: {
        server: { hostname: "127.0.0.1", port: options.port },
        // Everything runs here: what is marked as remote would be looked for at Cloudflare.
        remote: false,
        inspector: false,
      },
    });
    if (remoteKv !== undefined) followKvBindings({ worker, remoteKv, readProject });
    return new RunningSession({ worker, remoteKv, url: await worker.url });
  } catch (error) {
    await remoteKv?.dispose();
    throw error;
  }
}

class RunningSession implements DevSession {
  readonly url: URL;
  readonly #worker: DevWorker;
  readonly #remoteKv: RemoteKv | undefined;
  #disposed: Promise<void> | undefined;

  constructor(options: {
    readonly url: URL;
    readonly worker: DevWorker;
    readonly remoteKv: RemoteKv | undefined;
  }) {
    this.url = options.url;
    this.#worker = options.worker;
    this.#remoteKv = options.remoteKv;
  }

  dispose(): Promise<void> {
    this.#disposed ??= this.#dispose();
    return this.#disposed;
  }

  async #dispose(): Promise<void> {
    await this.#worker.dispose();
    await this.#remoteKv?.dispose();
  }
}

/** Replaces the bindings anew when a save changed them: otherwise a new one would silently be local. */
function followKvBindings(options: {
  readonly worker: DevWorker;
  readonly remoteKv: RemoteKv;
  readonly readProject: () => Project;
}): void {
  const { worker, remoteKv, readProject } = options;
  let known = JSON.stringify(readProject().kvNamespaces);
  const update = async (): Promise<void> => {
    const project = readProject();
    const present = JSON.stringify(project.kvNamespaces);
    if (present === known) return;
    known = present;
    await worker.patchConfig({ bindings: await remoteKv.bindingsFor(project) });
  };
  worker.raw.on("reloadComplete", () => {
    update().catch((error: unknown) => {
      console.error(`atoll: ${error instanceof Error ? error.message : String(error)}`);
    });
  });
}

/** wrangler's settings against calls to anybody else, where the user has not set them otherwise. */
function keepWranglerToItself(): void {
  process.env["WRANGLER_SEND_METRICS"] ??= "false";
  process.env["WRANGLER_HIDE_BANNER"] ??= "true";
  process.env["CLOUDFLARE_CF_FETCH_ENABLED"] ??= "false";
}
