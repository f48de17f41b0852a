import { rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { UsageError } from "../settings.ts";
import type { WranglerEnvironment } from "../wrangler-environment.ts";
import { KvBindingServer } from "./kv-binding-server.ts";
import { KV_BINDING_TYPE, KV_PLUGIN_NAME, type KvPluginOptions } from "./kv-plugin.ts";
import { KvRestClient } from "./kv-rest-client.ts";
import type { Project } from "./project.ts";

const PLUGIN_FILE = fileURLToPath(new URL("kv-plugin.ts", import.meta.url));

/** A binding as wrangler's development server takes it, which replaces the project's own of that name. */
interface RemoteBinding {
  readonly type: `unsafe_${typeof KV_BINDING_TYPE}`;
  readonly dev: {
    readonly plugin: { readonly package: string; readonly name: string };
    readonly options: KvPluginOptions;
  };
}
export type RemoteBindings = Readonly<Record<string, RemoteBinding>>;

/**
 * The KV of a running Atoll, for a project in development. Its bindings stay native: they call a socket
 * of this process, which calls the API that wrangler calls, with the same token.
 */
export class RemoteKv {
  readonly #client: KvRestClient;
  readonly #server: KvBindingServer;
  readonly #directory: string;
  readonly #removeDirectory = (): void => {
    rmSync(this.#directory, { recursive: true, force: true });
  };

  private constructor(options: {
    readonly client: KvRestClient;
    readonly server: KvBindingServer;
    readonly directory: string;
  }) {
    this.#client = options.client;
    this.#server = options.server;
    this.#directory = options.directory;
    // Miniflare ends the process on Ctrl-C before anything asynchronous could run.
    process.once("exit", this.#removeDirectory);
  }

  static async start(variables: WranglerEnvironment): Promise<RemoteKv> {
    const client = new KvRestClient(variables);
    const server = new KvBindingServer(client);
    // Only this user may enter it: whoever reaches the socket reads and writes with the token.
    const directory = await mkdtemp(join(tmpdir(), "atoll-dev-"));
    await server.listen(join(directory, "kv.sock"));
    return new RemoteKv({ client, server, directory });
  }

  /**
   * What the project's KV bindings are to be replaced by. A binding without an id means the namespace
   * that the deployed worker has under that name. Rejected with a `UsageError` when there is none.
   */
  async bindingsFor(project: Project): Promise<RemoteBindings> {
    const needsDeployed = project.kvNamespaces.some(({ id }) => id === undefined);
    const deployed = needsDeployed ? await this.#client.boundNamespaces(project.name) : new Map();
    const bindings = project.kvNamespaces.map(({ binding, id }) => {
      const namespace: unknown = id ?? deployed.get(binding);
      if (typeof namespace === "string") return [binding, this.#binding(namespace)];
      throw new UsageError(
        `The KV binding ${binding} of ${project.name} has no namespace yet. Deploy the project once, which makes one, or give the binding an id.`,
      );
    });
    return Object.fromEntries(bindings) as RemoteBindings;
  }

  /** May be called twice. */
  async dispose(): Promise<void> {
    await this.#server.close();
    this.#removeDirectory();
    process.removeListener("exit", this.#removeDirectory);
  }

  #binding(namespace: string): RemoteBinding {
    return {
      type: `unsafe_${KV_BINDING_TYPE}`,
      dev: {
        plugin: { package: PLUGIN_FILE, name: KV_PLUGIN_NAME },
        options: { socketPath: join(this.#directory, "kv.sock"), namespace },
      },
    };
  }
}
