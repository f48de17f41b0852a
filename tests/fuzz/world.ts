import { createHash, generateKeyPairSync } from "node:crypto";
import { Agent, request, type IncomingHttpHeaders } from "node:http";
import { LIMITS } from "@atoll/control-plane";
import { callApi, type ControlPlaneProcess } from "../support/control-plane-process.ts";
import type { FuzzCredential, FuzzRequest } from "./requests.ts";

/** An answer, or that the connection ended without one. */
export interface FuzzAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

// A call that takes longer hangs: the slowest wait two seconds for nodes, behind others in turn.
const ANSWER_MS = 60_000;
// Each address may ask a thousand times a second; loopback has many.
const ADDRESSES = 16;
// An account has a thousand namespaces at most.
const STOCKS_KEPT = 20;

/** What there is at the control plane for requests to name, and how they are sent. */
export class FuzzWorld {
  readonly #plane: ControlPlaneProcess;
  readonly #agents = Array.from(
    { length: ADDRESSES },
    (_, index) => new Agent({ keepAlive: true, localAddress: `127.0.0.${index + 10}` }),
  );
  /** Ids by kind, the newest last. */
  readonly #known = new Map<string, string[]>();
  readonly #credentials: Record<FuzzCredential, string>;
  readonly #stocks: string[] = [];
  #stocked = 0;
  #sent = 0;

  /** Makes what requests can name: tokens, a node, a namespace and workers. */
  static async prepare(plane: ControlPlaneProcess): Promise<FuzzWorld> {
    const viewer = await callApi(plane, "POST", "/tokens", { name: "viewer", role: "viewer" });
    const world = new FuzzWorld(plane, {
      admin: plane.token,
      viewer: (viewer as { value: string }).value,
      stranger: `atoll_${"0".repeat(16)}_${"A".repeat(43)}`,
      node: await enrolNode(plane, "fuzz"),
      upload: "",
      none: "",
      garbage: "\u00ff garbage",
    });
    world.#note("account", plane.account);
    world.#note("blob", createHash("sha256").update("fuzz").digest("hex"));
    for (const name of WORKERS) await uploadWorker(plane, name);
    return world;
  }

  /** Makes anew what requests may have taken away: the worker `kept`, and a namespace with keys. */
  async restock(): Promise<void> {
    this.#stocked += 1;
    await uploadWorker(this.#plane, "kept");
    const title = `stock ${this.#stocked}`;
    const path = "/storage/kv/namespaces";
    const { id } = (await callApi(this.#plane, "POST", path, { title })) as { id: string };
    this.#note("namespace", id);
    const entries = ["a", "b", "a/b"].map((key) => ({ key, value: "{}", metadata: [1] }));
    await callApi(this.#plane, "PUT", `${path}/${id}/bulk`, entries);
    const outdated = this.#stocks.length < STOCKS_KEPT ? undefined : this.#stocks.shift();
    this.#stocks.push(id);
    if (outdated === undefined) return;
    // Requests may have deleted it already.
    await callApi(this.#plane, "DELETE", `${path}/${outdated}`).catch(() => undefined);
  }

  private constructor(plane: ControlPlaneProcess, credentials: Record<FuzzCredential, string>) {
    this.#plane = plane;
    this.#credentials = credentials;
  }

  /** Sends a request with what it names filled in, and keeps what the answer tells of new things. */
  async send(fuzzed: FuzzRequest): Promise<FuzzAnswer> {
    const { method, body } = fuzzed;
    const path = this.#fill(fuzzed.path);
    // Character by character the bytes that it was, whatever they are.
    const bytes =
      body && Buffer.from(this.#fill(Buffer.from(body.bytes).toString("latin1")), "latin1");
    const credential = this.#credentials[fuzzed.credential];
    const headers = {
      ...fuzzed.headers,
      ...(credential === "" ? {} : { authorization: `Bearer ${credential}` }),
      ...(body?.contentType === undefined ? {} : { "content-type": body.contentType }),
      ...(bytes === undefined ? {} : { "content-length": String(bytes.length) }),
    };
    this.#sent += 1;
    const agent = this.#agents[this.#sent % ADDRESSES];
    const call = {
      ...{ method, path, headers },
      ...(agent === undefined ? {} : { agent }),
      ...(bytes === undefined ? {} : { body: bytes }),
    };
    const answer = await exchange(this.#plane.url, call).catch((error: unknown) => {
      // An idle connection that the server ends just then: every client asks again on another one.
      if (error instanceof StaleConnection) return exchange(this.#plane.url, call);
      // Behind a head that was refused, a body that nobody reads any more may cut off the answer.
      if (error instanceof ConnectionCut && path.length > LIMITS.headBytesMax / 2) return TOO_LONG;
      throw error;
    });
    this.#learn(fuzzed, answer);
    return answer;
  }

  close(): void {
    for (const agent of this.#agents) agent.destroy();
  }

  #fill(text: string): string {
    return text.replaceAll(/<(\w+):(\d+)>/g, (_, kind: string, index: string) =>
      this.#pick(kind, Number(index)),
    );
  }

  #pick(kind: string, index: number): string {
    const known = this.#known.get(kind) ?? [];
    return known[index % Math.max(1, known.length)] ?? "0".repeat(32);
  }

  #note(kind: string, id: string): void {
    const known = this.#known.get(kind) ?? [];
    this.#known.set(kind, [...known.slice(-7), id]);
  }

  #learn({ operation }: FuzzRequest, { status, body }: FuzzAnswer): void {
    if (operation === undefined || status >= 300 || body.length > 1_000_000) return;
    const kind = LEARNT[operation.operationId];
    if (kind === undefined) return;
    const { result } = JSON.parse(body.toString()) as { readonly result: Record<string, unknown> };
    const id = result[kind.field];
    if (typeof id !== "string") return;
    if (kind.kind === "upload") this.#credentials.upload = id;
    else this.#note(kind.kind, id);
  }
}

/** Workers that requests name. */
export const WORKERS = ["kept", "fuzz-a", "fuzz-b", "fuzz-c"] as const;

/** Uploads and deploys a worker with a secret. */
export async function uploadWorker(plane: ControlPlaneProcess, name: string): Promise<void> {
  const form = new FormData();
  const bindings = [{ type: "secret_text", name: "SECRET", text: "hunter2" }];
  const metadata = { main_module: "index.js", compatibility_date: "2026-06-01", bindings };
  form.set("metadata", JSON.stringify(metadata));
  const source = "export default { fetch: (request, env) => new Response(env.SECRET) };";
  const type = "application/javascript+module";
  form.set("index.js", new Blob([source], { type }), "index.js");
  await callApi(plane, "PUT", `/workers/scripts/${name}`, form);
}

/** Which field of which answers names something new. */
const LEARNT: Readonly<Record<string, { readonly kind: string; readonly field: string }>> = {
  postAccountsAccountStorageKvNamespaces: { kind: "namespace", field: "id" },
  postAccountsAccountTokens: { kind: "token", field: "id" },
  putAccountsAccountWorkersScriptsWorker: { kind: "version", field: "deployment_id" },
  postAccountsAccountWorkersScriptsWorkerVersions: { kind: "version", field: "id" },
  postAccountsAccountWorkersScriptsWorkerTails: { kind: "tail", field: "id" },
  postAccountsAccountWorkersScriptsWorkerAssetsUploadSession: { kind: "upload", field: "jwt" },
};

/** Enrols a node that is none; resolves with its credential. */
export async function enrolNode(plane: ControlPlaneProcess, name: string): Promise<string> {
  const issued = await plane.command(["join-token", ...plane.place]);
  const { x = "" } = generateKeyPairSync("x25519").publicKey.export({ format: "jwk" });
  const sealingKey = Buffer.from(x, "base64url").toString("base64");
  const response = await fetch(`${plane.url}/fleet/enrol`, {
    method: "POST",
    body: JSON.stringify({ token: issued.output.trim(), name, region: "ams", sealingKey }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${issued.output} ${text}`);
  return (JSON.parse(text) as { credential: string }).credential;
}

/** The connection was used before, and ended without a byte of an answer. */
class StaleConnection extends Error {}

class ConnectionCut extends Error {}

const TOO_LONG: FuzzAnswer = {
  status: 431,
  headers: { connection: "close" },
  body: Buffer.alloc(0),
};

function exchange(
  url: string,
  options: {
    readonly method: string;
    readonly path: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly agent?: Agent;
    readonly body?: Uint8Array;
  },
): Promise<FuzzAnswer> {
  const { hostname, port } = new URL(url);
  const { body, ...rest } = options;
  return new Promise((resolve, reject) => {
    const sent = request({ ...rest, hostname, port, timeout: ANSWER_MS }, (response) => {
      const pieces: Buffer[] = [];
      response.on("data", (piece: Buffer) => pieces.push(piece));
      response.on("error", reject);
      response.on("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(pieces),
        }),
      );
    });
    sent.on("timeout", () => sent.destroy(new Error(`no answer within ${ANSWER_MS} ms`)));
    sent.on("error", (error: NodeJS.ErrnoException) => {
      const isCut = error.code === "ECONNRESET" || error.code === "EPIPE";
      const message = error.message;
      if (isCut && sent.reusedSocket) reject(new StaleConnection(message, { cause: error }));
      else reject(isCut ? new ConnectionCut(message, { cause: error }) : error);
    });
    sent.end(body);
  });
}
