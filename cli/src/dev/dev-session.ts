import type { unstable_DevEnv } from "wrangler";
import { z } from "zod";
import { UsageError } from "../settings.ts";
import type { WranglerEnvironment } from "../wrangler-environment.ts";
import { KvRestError } from "./kv-rest-client.ts";
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

/** wrangler's error about a configuration file that can't be parsed. */
const ParseFailure = z.object({
  text: z.string(),
  location: z.object({ file: z.string(), line: z.number(), column: z.number() }),
});
/** What wrangler's server tells when a part of it failed while it runs. */
const Failure = z.object({ reason: z.string(), cause: z.unknown() });

type DevServer = unstable_DevEnv;
type StartInput = Parameters<DevServer["startWorker"]>[0];

/**
 * Starts the project by wrangler's own development server, as a library: configuration, bundling,
 * assets, state in `.wrangler/state` and reloading are those of `wrangler dev`, on the workerd of the
 * fleet. Resolves when it listens. After a save that can't be built or run, the error is printed and
 * requests wait for the next one. Rejected with a `UsageError` when the project or the port is no good, or
 * the Atoll whose namespaces it uses does not answer.
 */
export async function startDevSession(options: DevSessionOptions): Promise<DevSession> {
  const config = findProjectConfig(options.directory);
  keepWranglerToItself();
  // Loaded here because it takes most of a second, which no other command should pay.
  const wrangler = await import("wrangler");
  const readProject = (): Project => {
    try {
      return parseProject(wrangler.unstable_readConfig({ config }, { hideWarnings: true }));
    } catch (error) {
      throw new UsageError(describeRefusal(error), { cause: error });
    }
  };

  const remoteKv = options.remoteKv && (await RemoteKv.start(options.remoteKv));
  const server = new wrangler.unstable_DevEnv();
  try {
    const project = remoteKv && readProject();
    const bindings = project && (await remoteKv.bindingsFor(project));
    const url = await startServer(server, {
      config,
      ...(bindings !== undefined && { bindings }),
      dev: {
        server: { hostname: "127.0.0.1", port: options.port },
        // Everything runs here: what is marked as remote would be looked for at Cloudflare.
        remote: false,
        inspector: false,
      },
    });
    if (remoteKv !== undefined && project !== undefined)
      followKvBindings({ server, remoteKv, project, readProject });
    return new RunningSession({ server, remoteKv, url });
  } catch (error) {
    // A part that could not start fails its teardown for the same reason, and cuts the others short.
    await Promise.allSettled([
      server.teardown(),
      ...server.runtimes.map((runtime) => runtime.teardown()),
      remoteKv?.dispose(),
    ]);
    if (error instanceof KvRestError) throw new UsageError(error.message, { cause: error });
    throw error;
  }
}

async function startServer(server: DevServer, input: StartInput): Promise<URL> {
  const refused = new Promise<never>((_resolve, reject) => {
    server.on("error", (event: unknown) => {
      // An error of the user's, such as a port that is taken, comes as it is; others in an envelope.
      if (event instanceof Error) reject(new UsageError(event.message, { cause: event }));
      else console.error(`atoll: ${describeFailure(event)}; waiting for the next save`);
    });
  });
  const worker = await server.startWorker(input).catch((error: unknown) => {
    throw new UsageError(describeRefusal(error), { cause: error });
  });
  return Promise.race([worker.url, refused]);
}

class RunningSession implements DevSession {
  readonly url: URL;
  readonly #server: DevServer;
  readonly #remoteKv: RemoteKv | undefined;
  #disposed: Promise<void> | undefined;

  constructor(options: {
    readonly url: URL;
    readonly server: DevServer;
    readonly remoteKv: RemoteKv | undefined;
  }) {
    this.url = options.url;
    this.#server = options.server;
    this.#remoteKv = options.remoteKv;
  }

  dispose(): Promise<void> {
    this.#disposed ??= this.#dispose();
    return this.#disposed;
  }

  async #dispose(): Promise<void> {
    await this.#server.teardown();
    await this.#remoteKv?.dispose();
  }
}

/** Replaces the bindings anew when a save changed them: otherwise a new one would silently be local. */
function followKvBindings(options: {
  readonly server: DevServer;
  readonly remoteKv: RemoteKv;
  /** What the bindings were replaced for. */
  readonly project: Project;
  readonly readProject: () => Project;
}): void {
  const { server, remoteKv, readProject } = options;
  let known = JSON.stringify(options.project);
  const update = async (): Promise<void> => {
    const project = readProject();
    const present = JSON.stringify(project);
    if (present === known) return;
    known = present;
    try {
      await server.config.patch({ bindings: await remoteKv.bindingsFor(project) });
    } catch (error) {
      // The next save tries again: a namespace may be there by then, or the Atoll.
      known = "";
      throw error;
    }
  };
  const updateOrTell = (): void => {
    update().catch((error: unknown) => console.error(`atoll: ${messageOf(error)}`));
  };
  server.on("reloadComplete", updateOrTell);
  // What was saved during the start was loaded before anybody listened.
  updateOrTell();
}

/** One sentence on why wrangler did not start, in which its own error is wrapped. */
function describeRefusal(error: unknown): string {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  const place = ParseFailure.safeParse(cause);
  if (!place.success) return messageOf(cause);
  const { file, line, column } = place.data.location;
  return `${file}:${line}:${column}: ${place.data.text}`;
}

function describeFailure(event: unknown): string {
  const failure = Failure.safeParse(event);
  return failure.success
    ? `${failure.data.reason}: ${messageOf(failure.data.cause)}`
    : String(event);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** wrangler's settings against calls to anybody else, where the user has not set them otherwise. */
function keepWranglerToItself(): void {
  process.env["WRANGLER_SEND_METRICS"] ??= "false";
  process.env["WRANGLER_HIDE_BANNER"] ??= "true";
  process.env["CLOUDFLARE_CF_FETCH_ENABLED"] ??= "false";
}
