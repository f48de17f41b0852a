import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import WebSocket from "ws";
import {
  decodeMessage,
  encodeMessage,
  EnrolResponse,
  isSignedState,
  MessageToNode,
  rawPublicKey,
  StateChange,
  StateRevision,
  type MessageFromNode,
  type Tail,
} from "../contract/index.ts";
import type { ControlPlaneApi } from "./control-plane-api.ts";

/** A node that applies every state at once, and moves between control planes as the test says. */
export class FollowingNode {
  readonly name: string;
  readonly #enrolment: EnrolResponse;
  /** What it runs, by key. */
  readonly workers = new Map<string, string>();
  revision = StateRevision.parse(0);
  /** What its latest connection said that is watched; it follows at once. */
  tails: ReadonlyArray<Tail> = [];
  /** How its latest connection ended that the other end ended. */
  closeCode: number | undefined;
  #socket: WebSocket | undefined;

  static async enrol(api: ControlPlaneApi, name: string): Promise<FollowingNode> {
    const { token } = await api.controlPlane.nodes.issueJoinToken();
    const keys = generateKeyPairSync("x25519");
    const sealingKey = rawPublicKey(keys.publicKey).toString("base64");
    const response = await fetch(`${api.controlPlane.url}/fleet/enrol`, {
      method: "POST",
      body: JSON.stringify({ token, name, region: "fra", sealingKey }),
    });
    return new FollowingNode(name, EnrolResponse.parse(await response.json()));
  }

  private constructor(name: string, enrolment: EnrolResponse) {
    this.name = name;
    this.#enrolment = enrolment;
  }

  /** What its HTTP calls have. */
  get headers(): Readonly<Record<string, string>> {
    return { authorization: `Bearer ${this.#enrolment.credential}` };
  }

  /** Connects to a control plane, and leaves the one that it was connected to. */
  async connect(api: ControlPlaneApi): Promise<void> {
    const url = `${api.controlPlane.url.replace("http", "ws")}/fleet/connect`;
    const socket = new WebSocket(url, { headers: this.headers });
    await once(socket, "open");
    socket.on("close", (code) => (this.closeCode = code));
    socket.on("message", (data: Buffer) => this.#receive(decodeMessage(MessageToNode, data)));
    this.leave();
    this.tails = [];
    this.#socket = socket;
    this.send({ kind: "hello", revision: this.revision, ingressUrl: "http://127.0.0.1:9" });
  }

  send(message: MessageFromNode): void {
    this.#socket?.send(encodeMessage(message));
  }

  /** Tells something that happened to all that it follows. */
  tellEvent(json: string): void {
    const tails = this.tails.map(({ id }) => id);
    this.send({ kind: "tail-news", news: { events: [{ tails, json }], dropped: [] } });
  }

  /** Ends its connection as a process that dies does. */
  leave(): void {
    this.#socket?.terminate();
  }

  #receive(message: MessageToNode): void {
    if (message.kind === "tails") {
      this.tails = message.tails;
      this.send({ kind: "tails-followed", ids: this.tails.map(({ id }) => id) });
    }
    if (message.kind !== "state") return;
    if (!isSignedState(this.#enrolment.fleetKey, message)) throw new Error("not signed");
    const change = decodeMessage(StateChange, message.body);
    if (change.kind === "snapshot") this.workers.clear();
    const removals = change.kind === "snapshot" ? [] : change.removals;
    for (const key of removals) this.workers.delete(key);
    for (const worker of change.kind === "snapshot" ? change.workers : change.upserts) {
      const [serving] = worker.versions;
      this.workers.set(`${worker.account}/${worker.name}`, serving?.version.id ?? "none");
    }
    this.revision = change.revision;
    this.send({ kind: "applied", revision: change.revision, failures: [] });
  }
}
