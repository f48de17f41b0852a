import { generateKeyPairSync, hash, type KeyObject } from "node:crypto";
import { once } from "node:events";
import { Key, NamespaceId } from "@atoll/kv-store";
import { sql } from "kysely";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import WebSocket from "ws";
import {
  decodeMessage,
  encodeMessage,
  EnrolResponse,
  isSignedState,
  MessageToNode,
  openBox,
  rawPublicKey,
  StateChange,
  USAGE_SUMS,
  type CellStatus,
  type MessageFromNode,
} from "../contract/index.ts";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";
import { openAccountsService } from "../accounts/open-accounts-service.ts";
import { LIMITS } from "../limits.ts";
import { TestClock } from "../test-support/test-clock.ts";
import { usageBatchOf } from "../test-support/usage-batch.ts";
import { FleetStatus } from "./status.ts";

/** A node that does what the test says: its end of the link, and the keys it enrolled with. */
class ScriptedNode {
  readonly #socket: WebSocket;
  readonly #enrolment: EnrolResponse;
  readonly #sealingKey: KeyObject;
  readonly #changes: StateChange[] = [];
  /** Numbers of the batches of usage that were said to be stored. */
  readonly usageAcks: number[] = [];
  #wake: () => void = () => undefined;

  private constructor(socket: WebSocket, enrolment: EnrolResponse, sealingKey: KeyObject) {
    this.#socket = socket;
    this.#enrolment = enrolment;
    this.#sealingKey = sealingKey;
    socket.on("message", (data: Buffer) => {
      const message = decodeMessage(MessageToNode, data);
      if (message.kind === "usage-ack") this.usageAcks.push(message.sequence);
      if (message.kind !== "state") return;
      expect(isSignedState(enrolment.fleetKey, message)).toBe(true);
      this.#changes.push(decodeMessage(StateChange, message.body));
      this.#wake();
    });
  }

  static async enrol(api: ControlPlaneApi): Promise<ScriptedNode> {
    const { token } = await api.controlPlane.nodes.issueJoinToken();
    const keys = generateKeyPairSync("x25519");
    const sealingKey = rawPublicKey(keys.publicKey).toString("base64");
    const response = await fetch(`${api.controlPlane.url}/fleet/enrol`, {
      method: "POST",
      body: JSON.stringify({ token, name: "fra-1", region: "fra", sealingKey }),
    });
    const enrolment = EnrolResponse.parse(await response.json());
    return ScriptedNode.connect(api, enrolment, keys.privateKey);
  }

  static async connect(
    api: ControlPlaneApi,
    enrolment: EnrolResponse,
    sealingKey: KeyObject,
  ): Promise<ScriptedNode> {
    const url = `${api.controlPlane.url.replace("http", "ws")}/fleet/connect`;
    const headers = { authorization: `Bearer ${enrolment.credential}` };
    const socket = new WebSocket(url, { headers });
    await once(socket, "open");
    return new ScriptedNode(socket, enrolment, sealingKey);
  }

  get headers(): Readonly<Record<string, string>> {
    return { authorization: `Bearer ${this.#enrolment.credential}` };
  }

  reconnect(api: ControlPlaneApi): Promise<ScriptedNode> {
    return ScriptedNode.connect(api, this.#enrolment, this.#sealingKey);
  }

  hello(revision: number): void {
    this.send({ kind: "hello", revision, ingressUrl: "http://127.0.0.1:9" } as MessageFromNode);
  }

  send(message: MessageFromNode): void {
    this.#socket.send(encodeMessage(message));
  }

  sendBytes(bytes: Uint8Array): void {
    this.#socket.send(bytes);
  }

  /** The next change that arrives. */
  async change(): Promise<StateChange> {
    while (this.#changes.length === 0) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#changes.shift() as StateChange;
  }

  secretsOf(change: StateChange): unknown {
    const workers = change.kind === "snapshot" ? change.workers : change.upserts;
    const box = workers[0]?.versions[0]?.secrets;
    if (box === undefined) return undefined;
    return JSON.parse(Buffer.from(openBox(this.#sealingKey, box)).toString());
  }

  async closed(): Promise<number> {
    const [code] = (await once(this.#socket, "close")) as [number];
    return code;
  }

  close(): void {
    this.#socket.terminate();
  }
}

function namesOf(change: StateChange): ReadonlyArray<string> {
  const workers = change.kind === "snapshot" ? change.workers : change.upserts;
  return workers.map(({ name }) => name).sort();
}

describe("fleet", () => {
  let api: ControlPlaneApi;
  const nodes: ScriptedNode[] = [];
  beforeEach(async () => {
    api = await ControlPlaneApi.start({ servedWaitMs: 1 });
  });
  afterEach(async () => {
    for (const node of nodes.splice(0)) node.close();
    await api.close();
  });
  const enrol = async (): Promise<ScriptedNode> => {
    const node = await ScriptedNode.enrol(api);
    nodes.push(node);
    return node;
  };
  const status = async (): Promise<FleetStatus> => {
    const response = await fetch(`${api.controlPlane.url}/console/status`, {
      headers: { authorization: `Bearer ${api.tenants.ours.token}` },
    });
    return FleetStatus.parse(await response.json());
  };

  test("a new node gets a snapshot, then each change as a delta from what it has", async () => {
    await api.deploy("first");
    const node = await enrol();
    node.hello(0);
    const snapshot = await node.change();
    expect(snapshot).toMatchObject({ kind: "snapshot", revision: 1 });
    expect(namesOf(snapshot)).toEqual(["first"]);
    node.send({ kind: "applied", revision: snapshot.revision, failures: [] });
    await api.deploy("second");
    const delta = await node.change();
    expect(delta).toMatchObject({ kind: "delta", from: 1, revision: 2, removals: [] });
    expect(namesOf(delta)).toEqual(["second"]);
  });

  test("changes made while a node is busy travel together, as they are at the end", async () => {
    const node = await enrol();
    await api.deploy("busy");
    node.hello(0);
    const first = await node.change();
    await api.deploy("a");
    await api.deploy("b");
    await api.deploy("a");
    await api.call("DELETE A/workers/services/busy?force=true");
    node.send({ kind: "applied", revision: first.revision, failures: [] });
    const delta = await node.change();
    expect(namesOf(delta)).toEqual(["a", "b"]);
    expect(delta).toMatchObject({ removals: [expect.stringMatching(/\/busy$/)] });
  });

  test("a node that was away continues from where it was", async () => {
    const node = await enrol();
    await api.deploy("one");
    node.hello(0);
    await node.change();
    node.close();
    await api.deploy("two");
    const back = await node.reconnect(api);
    nodes.push(back);
    back.hello(1);
    expect(await back.change()).toMatchObject({ kind: "delta", from: 1, revision: 2 });
  });

  test("secrets travel in a box that only this node opens", async () => {
    const node = await enrol();
    const bindings = [{ type: "secret_text", name: "KEY", text: "hush" }];
    await api.deploy("holder", { bindings });
    node.hello(0);
    const change = await node.change();
    expect(node.secretsOf(change)).toEqual({ KEY: "hush" });
    expect(Buffer.from(encodeMessage(change)).includes("hush")).toBe(false);
  });

  test("a change that another process made reaches a connected node", async () => {
    await api.deploy("hello");
    const node = await enrol();
    node.hello(0);
    const { revision } = await node.change();
    node.send({ kind: "applied", revision, failures: [] });
    const beside = await openAccountsService({
      dataDirectory: api.directory,
      databaseUrl: api.databaseUrl,
      clock: new TestClock(),
    });
    await beside.accounts.configure(api.tenants.ours.account.id, { settings: { memoryMib: 512 } });
    await beside.close();
    const change = await node.change();
    expect(change.kind === "delta" && change.upserts[0]?.settings.memoryMib).toBe(512);
  });

  test("a batch of usage is acknowledged each time it comes, and counts once", async () => {
    const node = await enrol();
    const batch = usageBatchOf(api.tenants.ours.account.id);
    const message = { kind: "usage", batch } as const;
    node.send(message);
    node.send(message);
    await expect.poll(() => node.usageAcks).toEqual([1, 1]);
    const back = await node.reconnect(api);
    nodes.push(back);
    back.send(message);
    await expect.poll(() => back.usageAcks).toEqual([1]);
    const { result } = await api.call("GET A/usage");
    expect(result.workers).toMatchObject([{ worker: "hello", requests: 1, kvReads: 1 }]);
  });

  test.each([
    { requests: -1 },
    { requests: 1.5 },
    { cpuUs: Number.MAX_SAFE_INTEGER + 1 },
    { hour: "2026-11-20T12:30:00.000Z" },
    // The same version and hour as the row before it.
    { hour: "2026-11-20T12:00:00.000Z" },
    { worker: "hello" },
    { version: "1" },
  ])("a node that reports %j is cut, and nothing of it is kept", async (wrong) => {
    const node = await enrol();
    const counts = Object.fromEntries(USAGE_SUMS.map((name) => [name, 1]));
    const sound = {
      ...counts,
      memoryPeakBytes: 1,
      worker: `${api.tenants.ours.account.id}/hello`,
      version: "11111111-1111-4111-8111-111111111111",
      hour: "2026-11-20T12:00:00.000Z",
    };
    const closed = node.closed();
    const batch = {
      sequence: 1,
      rows: [sound, { ...sound, hour: "2026-11-20T11:00:00.000Z", ...wrong }],
    };
    node.sendBytes(encodeMessage({ kind: "usage", batch }));
    expect(await closed).toBe(1002);
    expect((await api.call("GET A/usage")).result.workers).toEqual([]);
  });

  test("a node whose batch can't be stored may come back, and tells it again", async (context) => {
    context.skip(api.databaseUrl !== undefined, "there is no disk that could be full");
    const node = await enrol();
    const closed = node.closed();
    const batch = usageBatchOf(api.tenants.ours.account.id);
    const message = { kind: "usage", batch } as const;
    const { database } = api.controlPlane;
    await sql`pragma query_only = on`.execute(database);
    node.send(message);
    expect(await closed).toBe(1013);
    await sql`pragma query_only = off`.execute(database);
    const back = await node.reconnect(api);
    nodes.push(back);
    back.send(message);
    await expect.poll(() => back.usageAcks).toEqual([1]);
  });

  test("a second connection of a node replaces the first", async () => {
    const node = await enrol();
    node.hello(0);
    const closed = node.closed();
    const second = await node.reconnect(api);
    nodes.push(second);
    expect(await closed).toBe(1008);
    second.hello(0);
    await api.deploy("later");
    expect(namesOf(await second.change())).toEqual(["later"]);
    expect((await status()).nodes[0]).toMatchObject({ connected: true });
  });

  test("a node that breaks the contract is cut, and may come back", async () => {
    const node = await enrol();
    const closed = node.closed();
    node.sendBytes(Buffer.from("garbage"));
    expect(await closed).toBe(1002);
    const back = await node.reconnect(api);
    nodes.push(back);
    await api.deploy("still");
    back.hello(0);
    expect(namesOf(await back.change())).toEqual(["still"]);
  });

  test("status shows what a node acknowledged, what fails there, and that it is gone", async () => {
    const node = await enrol();
    await api.deploy("sick");
    node.hello(0);
    const { revision } = await node.change();
    const worker = `${api.tenants.ours.account.id}/sick`;
    const failures = [{ worker, version: "v", reason: "does not start" }];
    node.send({ kind: "applied", revision, failures });
    // The next change is sent only after the acknowledgement was taken in.
    await api.deploy("next");
    await node.change();
    expect((await status()).nodes).toMatchObject([
      { name: "fra-1", region: "fra", connected: true, revision, failures },
    ]);
    const closed = node.closed();
    api.controlPlane.http.server.closeAllConnections();
    node.close();
    await closed;
    await expect.poll(async () => (await status()).nodes[0]?.connected).toBe(false);
  });

  test("what a node reported stays until it reports that anew, and its cells go with the connection", async () => {
    const node = await enrol();
    node.hello(0);
    const cell: CellStatus = {
      ...{ workers: ["hello"], version: "v", state: "warm", pid: 1 },
      ...{ memoryBytes: 2, cpuMs: 3 },
    };
    const soundness = { repairing: null, repairs: 0, lastRepair: null, digest: null };
    const copy = { extent: "partial", bytes: 5, isStorageFailing: false } as const;
    const lag = { namespace: "n", revision: 1, lagMs: 4, ...soundness, ...copy };
    const reported = async (): Promise<unknown> => (await status()).nodes[0];
    node.send({ kind: "report", report: { cells: [cell], kv: [], cellFaults: [] } });
    node.send({ kind: "report", report: { kv: [lag] } });
    await expect.poll(reported).toMatchObject({ cells: [cell], kv: [lag] });
    node.send({ kind: "report", report: { cells: [] } });
    await expect.poll(reported).toMatchObject({ cells: [], kv: [lag] });
    node.send({ kind: "report", report: { cells: [cell] } });
    await expect.poll(reported).toMatchObject({ cells: [cell] });
    const back = await node.reconnect(api);
    nodes.push(back);
    back.hello(0);
    await expect.poll(reported).toMatchObject({ connected: true, cells: [], kv: [] });
  });

  test("a deploy is answered when connected nodes serve it, and does not wait for lost ones", async () => {
    await api.close();
    api = await ControlPlaneApi.start();
    const node = await enrol();
    node.hello(0);
    const answered: string[] = [];
    const deploying = api.deploy("awaited").then(() => answered.push("deploy"));
    const change = await node.change();
    answered.push("change");
    node.send({ kind: "applied", revision: change.revision, failures: [] });
    await deploying;
    expect(answered).toEqual(["change", "deploy"]);
    node.close();
    await expect.poll(async () => (await status()).nodes[0]?.connected).toBe(false);
    const startedAt = performance.now();
    await api.deploy("alone");
    expect(performance.now() - startedAt).toBeLessThan(LIMITS.servedWaitMs);
  });

  test("a small value is there by its key, or the answer has the revision of what replaced it", async () => {
    const { headers } = await enrol();
    const namespace = NamespaceId.parse("d".repeat(32));
    await api.origin.createNamespace(namespace);
    const put = (text: string): Promise<number> =>
      api.origin.write(namespace, [
        { kind: "put", key: Key.parse("a/b"), value: { kind: "inline", bytes: Buffer.from(text) } },
      ]);
    const ask = async (text: string, id: string = namespace): Promise<ReadonlyArray<unknown>> => {
      const query = new URLSearchParams({ namespace: id, key: "a/b" });
      const url = `${api.controlPlane.url}/fleet/blobs/${hash("sha256", text)}?${query.toString()}`;
      const answer = await fetch(url, { headers });
      return [answer.status, answer.headers.get("x-atoll-kv-revision"), await answer.text()];
    };
    await put("first");
    expect(await ask("first")).toEqual([200, null, "first"]);
    await put("second");
    expect(await ask("first")).toEqual([404, "2", ""]);
    expect(await ask("second")).toEqual([200, null, "second"]);
    expect(await ask("second", "e".repeat(32))).toEqual([404, null, ""]);
  });

  test("nobody gets a connection or a blob without a node's credential", async () => {
    const url = `${api.controlPlane.url.replace("http", "ws")}/fleet/connect`;
    for (const authorization of ["", "Bearer wrong", `Bearer ${api.tenants.ours.token}`]) {
      const socket = new WebSocket(url, { headers: { authorization } });
      const [error] = (await once(socket, "error")) as [Error];
      expect(error.message).toContain("401");
      const blob = await fetch(`${api.controlPlane.url}/fleet/blobs/${"0".repeat(64)}`, {
        headers: { authorization },
      });
      expect(blob.status).toBe(401);
    }
  });
});
