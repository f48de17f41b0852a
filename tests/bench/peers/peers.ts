import { writeFile } from "node:fs/promises";
import { createRequire, findPackageJSON } from "node:module";
import { join } from "node:path";
import { findFreePorts } from "../../support/free-ports.ts";
import { startWranglerDev } from "../../support/wrangler-dev.ts";
import { BareWorkerd } from "../bare-workerd.ts";
import { hold } from "../benchmark.ts";
import type { HelloBundle } from "./hello-bundle.ts";
import { startServer } from "./server-process.ts";

/** Somebody else who serves the same application. */
interface Peer {
  readonly name: string;
  readonly url: string;
  /** The process that serves, or that started the ones which do. */
  readonly pid: number;
}

/** Peers that run here, and why each of the others does not. */
export interface Peers {
  readonly running: ReadonlyArray<Peer>;
  readonly absent: ReadonlyArray<string>;
}

type StartPeer = (resources: AsyncDisposableStack, bundle: HelloBundle) => Promise<Peer>;

const require = createRequire(import.meta.url);

const PEERS: Readonly<Record<string, StartPeer>> = {
  "workerd with a loader": async (resources, { source }) => {
    const { url, pid } = await BareWorkerd.start(resources, {
      source: DISPATCHER,
      loadedSource: source,
    });
    return { name: "workerd with a loader", url, pid };
  },
  "wrangler dev": async (resources, { directory }) => {
    const dev = await hold(
      resources,
      () => startWranglerDev(directory),
      (started) => started.stop(),
    );
    return { name: `wrangler dev ${versionOf("wrangler")}`, url: dev.url, pid: dev.pid };
  },
  "Node with @hono/node-server": async (resources, { directory }) => {
    const port = await findFreePorts(1);
    const server = await startServer(resources, {
      file: process.execPath,
      arguments: [
        join(import.meta.dirname, "node.server.ts"),
        join(directory, "index.js"),
        String(port),
      ],
      directory,
      port,
    });
    const version = versionOf("@hono/node-server");
    return { name: `Node ${process.version} with @hono/node-server ${version}`, ...server };
  },
  Deno: async (resources, { directory }) => {
    const port = await findFreePorts(1);
    const server = await startServer(resources, {
      file: programOf("deno", { x64: "@deno/linux-x64-glibc", arm64: "@deno/linux-arm64-glibc" }),
      arguments: ["serve", "--host", "127.0.0.1", "--port", String(port), "index.js"],
      directory,
      environment: { DENO_DIR: join(directory, "deno"), DENO_NO_UPDATE_CHECK: "1" },
      port,
    });
    return { name: `Deno ${versionOf("deno")}`, ...server };
  },
  Bun: async (resources, { directory }) => {
    const port = await findFreePorts(1);
    // Bun serves a default export by itself, but on every address.
    await writeFile(
      join(directory, "bun.js"),
      `import app from "./index.js";
Bun.serve({ hostname: "127.0.0.1", port: ${port}, fetch: app.fetch });
`,
    );
    const server = await startServer(resources, {
      file: programOf("bin/bun", { x64: "@oven/bun-linux-x64", arm64: "@oven/bun-linux-aarch64" }),
      arguments: ["bun.js"],
      directory,
      port,
    });
    return { name: `Bun ${versionOf("bun")}`, ...server };
  },
};

/** What a platform does that keeps all workers in one process: a worker that calls loaded ones. */
const DISPATCHER = `import code from "loaded.txt";
export default { fetch(request, env) {
  const worker = env.LOADER.get("hello", () => ({
    compatibilityDate: "2026-06-01",
    mainModule: "index.js",
    modules: { "index.js": code },
  }));
  return worker.getEntrypoint().fetch(request);
} };`;

/** Starts every peer that can be started here. They end with `resources`. */
export async function startPeers(
  resources: AsyncDisposableStack,
  bundle: HelloBundle,
): Promise<Peers> {
  const running: Peer[] = [];
  const absent: string[] = [];
  for (const [name, start] of Object.entries(PEERS)) {
    try {
      running.push(await start(resources, bundle));
    } catch (error) {
      const [reason = ""] = String(error).split("\n");
      absent.push(`${name} is absent: ${reason}`);
    }
  }
  return { running, absent };
}

/**
 * A program in the package of its platform: the package that chooses between them has an install script,
 * and none is run here.
 */
function programOf(
  path: string,
  packages: Readonly<Partial<Record<NodeJS.Architecture, string>>>,
): string {
  const name = packages[process.arch];
  if (name === undefined) throw new Error(`there is none for ${process.arch}`);
  return join(require.resolve(`${name}/package.json`), "..", path);
}

function versionOf(name: string): string {
  const manifest = findPackageJSON(name, import.meta.url);
  if (manifest === undefined) throw new Error(`${name} is not installed`);
  return (require(manifest) as { readonly version: string }).version;
}
