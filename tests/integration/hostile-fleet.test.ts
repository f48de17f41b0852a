import { createHash, generateKeyPairSync } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import {
  decodeMessage,
  encodeMessage,
  MessageToNode,
  StateChange,
} from "@atoll/control-plane/contract";
import { startAtoll, type Answer, type TestAtoll } from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { readRefusal, readStatus, type Refusal } from "../support/refusal.ts";
import { serveEverywhere } from "../support/serving.ts";
import { upload } from "../support/upload.ts";

const MIB = 1024 * 1024;
const INGRESS_URL = "http://127.0.0.1:1";

let atoll: TestAtoll;
let controlPlane: number | undefined;
beforeAll(async () => {
  atoll = await startAtoll();
  controlPlane = (await atoll.pids())["control-plane"];
});
afterAll(() => atoll.stop());

// Whatever a stranger or a broken node does: the others stay connected and follow the next deploy.
afterEach(async () => {
  const { nodes } = await readStatus(atoll);
  const own = nodes.filter(({ name }) => ["fra", "iad", "nrt"].includes(name));
  expect(own.map(({ connected, failures }) => ({ connected, failures }))).toEqual(
    Array.from({ length: 3 }, () => ({ connected: true, failures: [] })),
  );
  expect((await atoll.pids())["control-plane"]).toBe(controlPlane);
});

async function issueToken(): Promise<string> {
  const data = join(atoll.dataDirectory, "control-plane");
  const { output, exitCode } = await atoll.atoll(["join-token", "--data", data]);
  expect(exitCode, output).toBe(0);
  return output.trim();
}

function publicKey(): string {
  const { x = "" } = generateKeyPairSync("x25519").publicKey.export({ format: "jwk" });
  return Buffer.from(x, "base64url").toString("base64");
}

async function callFleet(path: string, init: RequestInit): Promise<Answer> {
  const response = await fetch(`${atoll.url}/fleet${path}`, init);
  return { status: response.status, headers: {}, body: await response.text() };
}

function enrol(request: unknown): Promise<Answer> {
  const body = typeof request === "string" ? request : JSON.stringify(request);
  return callFleet("/enrol", { method: "POST", body });
}

async function refusedEnrolment(request: unknown): Promise<Refusal> {
  const before = (await readStatus(atoll)).nodes.map(({ name }) => name);
  const refusal = readRefusal(await enrol(request));
  expect((await readStatus(atoll)).nodes.map(({ name }) => name)).toEqual(before);
  return refusal;
}

/** Joins the fleet as a node that is none; resolves with its credential. */
async function joinAs(name: string): Promise<string> {
  const token = await issueToken();
  const answer = await enrol({ token, name, region: "ams", sealingKey: publicKey() });
  expect(answer.status, answer.body).toBe(200);
  return (JSON.parse(answer.body) as { credential: string }).credential;
}

interface Ending {
  readonly code: number;
  readonly received: ReadonlyArray<Uint8Array>;
}

/** Connects as a node, sends these frames and resolves when the control plane has ended the connection. */
function speak(credential: string, frames: ReadonlyArray<Uint8Array | string>): Promise<Ending> {
  const socket = openLink(credential);
  const received: Uint8Array[] = [];
  return new Promise((resolve, reject) => {
    socket.on("open", () => {
      for (const frame of frames) socket.send(frame);
    });
    socket.on("message", (data: Buffer) => received.push(data));
    socket.on("error", reject);
    socket.on("close", (code) => resolve({ code, received }));
  });
}

function openLink(credential: string | undefined, path = "/fleet/connect"): WebSocket {
  const headers = credential === undefined ? {} : { authorization: `Bearer ${credential}` };
  return new WebSocket(`${atoll.url.replace("http", "ws")}${path}`, { headers });
}

/** The status by which a connection was turned away. */
function turnedAway(credential: string | undefined, path?: string): Promise<number> {
  const socket = openLink(credential, path);
  return new Promise((resolve, reject) => {
    socket.on("open", () => reject(new Error("it was let in")));
    socket.on("error", () => undefined);
    socket.on("unexpected-response", (_, response) => {
      resolve(response.statusCode ?? 0);
      socket.terminate();
    });
  });
}

async function credentialOf(region: string): Promise<string> {
  const file = join(atoll.dataDirectory, "nodes", region, "identity.json");
  return (JSON.parse(await readFile(file, "utf8")) as { credential: string }).credential;
}

test("enrolment: bodies that are none are refused in a sentence", async () => {
  const token = await issueToken();
  const good = { token, name: "ams", region: "ams", sealingKey: publicKey() };
  const cases: ReadonlyArray<readonly [unknown, number, RegExp]> = [
    ["{{{", 400, /body is not JSON/],
    ["", 400, /body is not JSON/],
    [[], 400, /body: .*expected object/],
    [{}, 400, /token: /],
    [{ ...good, name: "../ams" }, 400, /name: a node's name has 1 to 63 characters/],
    [{ ...good, name: "a".repeat(64) }, 400, /name: /],
    [{ ...good, region: "Amsterdam!" }, 400, /region: a region has 2 to 12 characters/],
    [{ ...good, sealingKey: "not base64!" }, 400, /sealingKey: /],
    [{ ...good, sealingKey: Buffer.alloc(31).toString("base64") }, 400, /not the 32 bytes/],
    [{ ...good, admin: true }, 400, /admin/],
    [{ ...good, padding: "x".repeat(5_000) }, 413, /limit of 4096 bytes/],
  ];
  for (const [request, status, message] of cases) {
    const refusal = await refusedEnrolment(request);
    expect(refusal.status, refusal.message).toBe(status);
    expect(refusal.message).toMatch(message);
    expect(refusal.message).not.toContain(token);
  }
  // None of them used the token up.
  expect((await enrol({ ...good, name: "after" })).status).toBe(200);
});

test("enrolment: unknown, altered, used and expired tokens are refused", async () => {
  const token = await issueToken();
  const request = { name: "sto", region: "sto", sealingKey: publicKey() };
  const unknown = `atoll-join_${"0".repeat(16)}_${"a".repeat(43)}`;
  const altered = token.slice(0, -1) + (token.endsWith("A") ? "B" : "A");
  const apiToken = atoll.variables["CLOUDFLARE_API_TOKEN"];
  for (const wrong of [unknown, altered, apiToken, "", await credentialOf("fra")]) {
    const refusal = await refusedEnrolment({ ...request, token: wrong });
    expect(refusal).toMatchObject({ status: 401, code: 10_000 });
    expect(refusal.message).toContain("not one of this fleet");
  }

  // Of several that try at once with one token, one gets in.
  const answers = await Promise.all(
    ["one", "two", "three"].map((name) => enrol({ ...request, name, token })),
  );
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
  expect(answers.filter(({ status }) => status === 401)).toHaveLength(2);
  const used = await refusedEnrolment({ ...request, name: "four", token });
  expect(used.message).toContain("was used already: issue another");

  const late = await issueToken();
  expireJoinTokens();
  const expired = await refusedEnrolment({ ...request, token: late });
  expect(expired).toMatchObject({ status: 401, code: 10_000 });
  expect(expired.message).toMatch(/expired at 2020-01-01/);
});

/** Time passes for tokens: what an hour would do, done to the rows. */
function expireJoinTokens(): void {
  const folder = join(atoll.dataDirectory, "control-plane");
  const database = new DatabaseSync(join(folder, "control-plane.sqlite"), { timeout: 5_000 });
  database.exec("UPDATE join_tokens SET expires_at = '2020-01-01T00:00:00.000Z'");
  database.close();
}

test("links: strangers are turned away", async () => {
  const credential = await credentialOf("fra");
  const altered = credential.slice(0, -1) + (credential.endsWith("A") ? "B" : "A");
  const unknown = `atoll-node_${"0".repeat(16)}_${"a".repeat(43)}`;
  const apiToken = atoll.variables["CLOUDFLARE_API_TOKEN"];
  const joinToken = await issueToken();
  for (const wrong of [undefined, "x", altered, unknown, apiToken, joinToken, "a".repeat(4_000)]) {
    expect(await turnedAway(wrong)).toBe(401);
  }
  expect(await turnedAway(credential, "/fleet/other")).toBe(404);
  expect(await turnedAway(credential, "/fleet/connect?admin=true")).toBe(404);
  expect((await callFleet("/connect", {})).status).toBe(404);
});

test("links: a node that joined again under its name ends its earlier credential", async () => {
  const earlier = await joinAs("again");
  const later = await joinAs("again");
  expect(await turnedAway(earlier)).toBe(401);
  expect((await callFleet(`/blobs/${"0".repeat(64)}`, bearer(earlier))).status).toBe(401);
  expect((await callFleet(`/blobs/${"0".repeat(64)}`, bearer(later))).status).toBe(404);
});

test("links: what is not of the contract ends the connection that it came on", async () => {
  const credential = await joinAs("noisy");
  const hello = { kind: "hello", revision: 0, ingressUrl: INGRESS_URL };
  const garbage: Readonly<Record<string, Uint8Array | string>> = {
    text: "hello",
    "no MessagePack": Buffer.from("c1c1c1", "hex"),
    nothing: Buffer.alloc(0),
    "an array of four billion": Buffer.from("ddffffffff", "hex"),
    "a map of four billion": Buffer.from("dfffffffff", "hex"),
    "a string of four billion": Buffer.from("dbffffffff", "hex"),
    "100,000 arrays in each other": Buffer.alloc(100_000, 0x91),
    "a list": encodeMessage([hello]),
    "an unknown kind": encodeMessage({ kind: "become-leader" }),
    "a negative revision": encodeMessage({ ...hello, revision: -1 }),
    "half a revision": encodeMessage({ ...hello, revision: 0.5 }),
    "a URL that runs": encodeMessage({ ...hello, ingressUrl: "javascript:alert(1)" }),
    "a reason of megabytes": encodeMessage({
      kind: "refused",
      revision: 0,
      reason: "x".repeat(2 * MIB),
    }),
    "a cell that is none": encodeMessage({ kind: "report", report: { cells: [{}], kv: [] } }),
  };
  for (const [what, frame] of Object.entries(garbage)) {
    expect((await speak(credential, [frame])).code, what).toBe(1002);
  }
  const tooLarge = await speak(credential, [Buffer.alloc(65 * MIB)]);
  expect(tooLarge.code).toBe(1009);
});

test("links: garbage in the replication of KV ends the connection, and no other", async () => {
  const credential = await joinAs("babbler");
  const hello = encodeMessage({ kind: "hello", revision: 0, ingressUrl: INGRESS_URL });
  for (const message of [null, "subscribe", { kind: "unknown" }, [1, 2, 3]]) {
    const { code } = await speak(credential, [hello, encodeMessage({ kind: "kv", message })]);
    expect([1002, 1006]).toContain(code);
  }
});

test("links: a node that claims to be ahead is sent what is true, and changes nothing", async () => {
  const credential = await joinAs("ahead");
  const { revision } = await readStatus(atoll);
  const socket = openLink(credential);
  const states: StateChange[] = [];
  socket.on("message", (data: Buffer) => {
    const message = decodeMessage(MessageToNode, data);
    if (message.kind === "state") states.push(decodeMessage(StateChange, message.body));
  });
  await new Promise((resolve) => socket.on("open", resolve));
  socket.send(encodeMessage({ kind: "hello", revision: 999_999, ingressUrl: INGRESS_URL }));
  socket.send(encodeMessage({ kind: "applied", revision: 888_888, failures: [] }));
  expect((await upload(atoll, { name: "next", source: answering("next") })).status).toBe(200);
  await serveEverywhere(atoll, "next", ({ body }) => body === "next");
  expect((await readStatus(atoll)).revision).toBe(revision + 1);
  await eventually(() => states.length > 0, { what: "the node is sent a state" });
  socket.terminate();
  for (const state of states) {
    expect(state.kind).toBe("snapshot");
    expect([revision, revision + 1]).toContain(state.revision);
  }
});

function answering(text: string): string {
  return `export default { fetch: () => new Response(${JSON.stringify(text)}) };`;
}

function bearer(credential: string, init: RequestInit = {}): RequestInit {
  return { ...init, headers: { authorization: `Bearer ${credential}` } };
}

test("blobs: only nodes read and write them, by the hash of their content", async () => {
  const credential = await joinAs("courier");
  const content = Buffer.from("content of a node");
  const hash = createHash("sha256").update(content).digest("hex");
  const put = (name: string, body: Uint8Array) =>
    callFleet(`/blobs/${name}`, bearer(credential, { method: "PUT", body: Buffer.from(body) }));
  const get = (name: string) => callFleet(`/blobs/${name}`, bearer(credential));

  for (const init of [{}, bearer("x"), bearer(atoll.variables["CLOUDFLARE_API_TOKEN"] ?? "")]) {
    expect(readRefusal(await callFleet(`/blobs/${hash}`, init)).status).toBe(401);
  }
  const foreign = "f".repeat(64);
  const mismatch = readRefusal(await put(foreign, content));
  expect(mismatch.status).toBe(400);
  expect(mismatch.message).toContain(`sent as ${foreign} hashes to ${hash}`);
  expect((await get(foreign)).status).toBe(404);
  expect((await get(hash)).status).toBe(404);
  const tooLarge = readRefusal(await put(hash, new Uint8Array(26 * MIB)));
  expect(tooLarge).toMatchObject({ status: 413, code: 10_027 });
  for (const name of ["zz", hash.toUpperCase(), "..%2f..%2fmaster.key", `${hash}%00`]) {
    const refusal = readRefusal(await get(name));
    expect(refusal.status).toBe(400);
    expect(refusal.message).toContain("is not a blob hash");
  }
  expect((await put(hash, content)).status).toBe(204);
  expect((await get(hash)).body).toBe(content.toString());
});
