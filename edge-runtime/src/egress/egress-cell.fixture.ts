import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { installedWorkerdPath } from "../cells/workerd-host.ts";

/** What the worker in the cell shall do with the answer. */
export interface FetchOptions {
  /** Sends a body of this many bytes. */
  readonly post?: number;
  readonly isStream?: boolean;
  readonly redirect?: "follow" | "manual";
  readonly readsFirstPieceOnly?: boolean;
  /** Opens a WebSocket and says this. */
  readonly says?: string;
}

export interface FetchedAnswer {
  readonly status: number;
  readonly text: string;
  readonly cookies: ReadonlyArray<string>;
}

/** A real workerd whose worker calls whatever a test tells it to. */
export class EgressCell {
  readonly #folder: string;
  readonly #stop: () => Promise<void>;

  static async start(openEgress: (socketPath: string) => Promise<void>): Promise<EgressCell> {
    const folder = await mkdtemp(join(tmpdir(), "egress-"));
    await writeFile(join(folder, "worker.js"), WORKER);
    await writeFile(join(folder, "config.capnp"), CONFIG);
    await openEgress(join(folder, "egress.sock"));
    const child = spawn(installedWorkerdPath(), ["serve", "config.capnp", "--control-fd=3"], {
      cwd: folder,
      stdio: ["ignore", "ignore", "ignore", "pipe"],
    });
    await once(createInterface({ input: child.stdio[3] as Readable }), "line");
    return new EgressCell(folder, async () => {
      child.kill("SIGKILL");
      await once(child, "exit");
    });
  }

  private constructor(folder: string, stop: () => Promise<void>) {
    this.#folder = folder;
    this.#stop = stop;
  }

  /** What a worker's `fetch` gives. */
  async fetch(url: string, options: FetchOptions = {}): Promise<FetchedAnswer> {
    return JSON.parse(await this.#ask("/fetch", { url, ...options })) as FetchedAnswer;
  }

  /** What a worker's `connect()` reads after it said something, or the error. */
  connect(options: {
    readonly host: string;
    readonly port: number;
    readonly says: string;
  }): Promise<string> {
    return this.#ask("/connect", options);
  }

  async stop(): Promise<void> {
    await this.#stop();
    await rm(this.#folder, { recursive: true });
  }

  async #ask(path: string, order: object): Promise<string> {
    const request = httpRequest({
      socketPath: join(this.#folder, "http.sock"),
      path,
      method: "POST",
      agent: false,
    });
    request.end(JSON.stringify(order));
    const [response] = (await once(request, "response")) as [Readable];
    return text(response);
  }
}

const CONFIG = `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "internet", external = (address = "unix:egress.sock", http = (style = proxy))),
  ],
  sockets = [(name = "http", address = "unix:http.sock", service = "main", http = ())],
);
const worker :Workerd.Worker = (
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  compatibilityDate = "2026-11-01",
);
`;

const WORKER = `
import { connect } from "cloudflare:sockets";

function body({ post, isStream }) {
  if (!isStream) return new Uint8Array(post);
  let left = post;
  return new ReadableStream({ pull(controller) {
    const size = Math.min(left, 65_536);
    left -= size;
    controller.enqueue(new Uint8Array(size));
    if (left === 0) controller.close();
  } });
}

async function talk(url, says) {
  const response = await fetch(url, { headers: { upgrade: "websocket" } });
  if (!response.webSocket) return response.status + " " + (await response.text());
  const { webSocket } = response;
  const answer = new Promise((resolve) => {
    webSocket.addEventListener("message", ({ data }) => resolve(data));
  });
  webSocket.accept();
  webSocket.send(says);
  const heard = await answer;
  webSocket.close();
  return response.status + " " + heard;
}

async function fetchFor({ url, post, isStream, redirect, readsFirstPieceOnly, says }) {
  if (says) return { status: 0, text: await talk(url, says), cookies: [] };
  const response = await fetch(url, post
    ? { method: "POST", body: body({ post, isStream }), redirect }
    : { redirect });
  const cookies = response.headers.getSetCookie();
  if (readsFirstPieceOnly) {
    const reader = response.body.getReader();
    await reader.read();
    await reader.cancel();
    return { status: response.status, text: "", cookies };
  }
  const bytes = await response.arrayBuffer();
  const text = post ? bytes.byteLength + " bytes" : new TextDecoder().decode(bytes);
  return { status: response.status, text, cookies };
}

async function connectFor({ host, port, says }) {
  const socket = connect({ hostname: host, port });
  const writer = socket.writable.getWriter();
  await writer.write(new TextEncoder().encode(says));
  const { value } = await socket.readable.getReader().read();
  await socket.close();
  return new TextDecoder().decode(value);
}

export default { async fetch(request) {
  const order = await request.json();
  try {
    return new URL(request.url).pathname === "/fetch"
      ? Response.json(await fetchFor(order))
      : new Response(await connectFor(order));
  } catch (error) {
    return new Response(String(error));
  }
} };
`;
