import type { KeyObject } from "node:crypto";
import type { Logger } from "pino";
import {
  decodeMessage,
  encodeLongMessage,
  encodeMessage,
  MessageFromNode,
  signLargeState,
  StateRevision,
  type DesiredWorker,
  type MessageToNode,
} from "../contract/index.ts";
import type { DesiredState } from "../desired-state/desired-state.ts";
import type { WorkerState } from "../desired-state/worker-states.ts";
import { LIMITS } from "../limits.ts";
import type { EventLink } from "../schedules/carriers.ts";
import type { Dispatcher } from "../schedules/dispatcher.ts";
import type { FleetTails } from "../tails/fleet-tails.ts";
import type { TailLink } from "../tails/tail-followers.ts";
import type { DayQuotaLink, DayQuotas } from "../usage/day-quotas.ts";
import type { UsageService } from "../usage/service.ts";
import { EMPTY_REPORT, type FleetRegistry, type NodeStatus } from "./fleet-registry.ts";
import { sealWorker } from "./sealed-worker.ts";

/** A `StateChange` on its way to a node. */
interface EncodedChange {
  readonly revision: StateRevision;
  readonly body: Uint8Array<ArrayBuffer>;
}

/** The node at the other end of a session. */
interface SessionNode {
  readonly name: NodeStatus["name"];
  readonly region: NodeStatus["region"];
  /** X25519 public key that its secrets are sealed to. */
  readonly sealingKey: KeyObject;
}

export interface NodeSessionOptions {
  readonly node: SessionNode;
  readonly desiredState: DesiredState;
  readonly registry: FleetRegistry;
  /** Ed25519 private key, PEM. */
  readonly fleetKey: string;
  readonly send: (bytes: Uint8Array) => void;
  /** Messages of the key-value replication. */
  readonly onKvMessage: (message: unknown) => void;
  readonly usage: UsageService;
  readonly dayQuotas: Pick<DayQuotas, "connect">;
  readonly schedules: Pick<Dispatcher, "connect">;
  readonly tails: Pick<FleetTails, "connect">;
  readonly log: Logger;
}

/**
 * One node's connection: brings it from the revision it has to the current one, change by change, and
 * keeps what it reports. At most one change is under way: the next one starts from what was
 * acknowledged, so that changes made meanwhile travel together.
 */
export class NodeSession {
  readonly #options: NodeSessionOptions;
  readonly #events: EventLink;
  readonly #tails: TailLink;
  readonly #dayQuotas: DayQuotaLink;
  #status: NodeStatus;
  /** Where the next change starts from: what the node has. */
  #revision = StateRevision.parse(0);
  /** The revision that was sent and not yet answered. */
  #awaited: StateRevision | undefined;
  #greeted = false;
  #closed = false;

  constructor(options: NodeSessionOptions) {
    this.#options = options;
    const { name, region } = options.node;
    const known = options.registry.get(name);
    this.#status = {
      name,
      region,
      connected: true,
      revision: known?.revision ?? this.#revision,
      failures: known?.failures ?? [],
      report: EMPTY_REPORT,
      ...(known?.ingressUrl === undefined ? {} : { ingressUrl: known.ingressUrl }),
    };
    this.#events = options.schedules.connect({
      node: name,
      send: (event) => this.#send({ kind: "scheduled", event }),
      acknowledge: (run) => this.#send({ kind: "scheduled-ack", run }),
      runs: (key) => this.#status.failures.every(({ worker }) => worker !== key),
    });
    this.#tails = options.tails.connect({
      send: (tails) => this.#send({ kind: "tails", tails: [...tails] }),
    });
    this.#dayQuotas = options.dayQuotas.connect({
      node: name,
      send: (message) => this.#send(message),
    });
  }

  /** Handles one received message. Throws when it is not of the contract. */
  async receive(bytes: Uint8Array): Promise<void> {
    const message = decodeMessage(MessageFromNode, bytes);
    switch (message.kind) {
      case "hello":
        this.#greeted = true;
        this.#awaited = undefined;
        this.#revision = message.revision;
        this.#update({ revision: message.revision, ingressUrl: message.ingressUrl });
        this.#tails.open();
        this.#dayQuotas.open();
        return this.advance();
      case "applied":
        this.#update({ revision: message.revision, failures: message.failures });
        this.#revision = message.revision;
        this.#awaited = undefined;
        return this.advance();
      case "refused":
        // Nothing is sent again until the next change or connection: repeating what was refused would
        // only be refused again, at the full speed of the link.
        this.#options.log.error(
          { node: this.#status.name, revision: message.revision, reason: message.reason },
          "a node refused a desired state",
        );
        this.#awaited = undefined;
        return undefined;
      case "report":
        return this.#update({ report: { ...this.#status.report, ...message.report } });
      case "kv":
        return this.#options.onKvMessage(message.message);
      case "usage": {
        // A node speaks for itself alone: what it reports is stored under the name that it enrolled with.
        const sequence = await this.#options.usage.record(this.#status.name, message.batch);
        return this.#send({ kind: "usage-ack", sequence });
      }
      case "scheduled-runs":
        return this.#events.hold(message.runs);
      case "scheduled-end":
        return this.#events.ended(message.end);
      case "tails-followed":
        return this.#tails.followed(message.ids);
      case "tail-news":
        return this.#tails.news(message.news);
    }
  }

  /** Sends the node what it lacks, unless it is working on a change already. */
  async advance(): Promise<void> {
    if (!this.#greeted || this.#closed || this.#awaited !== undefined) return;
    const current = await this.#options.desiredState.revision();
    if (current === this.#revision || this.#awaited !== undefined) return;
    // Claimed before the next wait, so that two calls never send two changes.
    this.#awaited = current;
    const { revision, body } = await this.#nextChange(current);
    const signature = await signLargeState(this.#options.fleetKey, body);
    if (this.#closed) return;
    this.#awaited = revision;
    this.#send({ kind: "state", body, signature });
  }

  sendKv(message: unknown): void {
    this.#send({ kind: "kv", message });
  }

  /** The connection is gone; the registry keeps what the node last told. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#events.close();
    this.#tails.close();
    this.#dayQuotas.close();
    this.#update({ connected: false, report: { ...this.#status.report, cells: [] } });
  }

  async #nextChange(current: StateRevision): Promise<EncodedChange> {
    // A node that is ahead followed a database that was since restored from a backup: only a snapshot
    // can lead it, and it will refuse one that is older. The log says so.
    if (this.#revision > 0 && this.#revision < current) {
      const from = this.#revision;
      const changes = await this.#options.desiredState.changesSince(from);
      if (changes !== undefined) {
        const { revision, upserts, removals } = changes;
        const head = { kind: "delta", from, revision, removals };
        return { revision, body: await this.#encode(head, "upserts", upserts) };
      }
    }
    const { revision, workers } = await this.#options.desiredState.snapshot();
    const head = { kind: "snapshot", revision };
    return { revision, body: await this.#encode(head, "workers", workers) };
  }

  /** A `StateChange`, with the secrets of its workers sealed to the node. */
  #encode(
    head: Readonly<Record<string, unknown>>,
    name: "upserts" | "workers",
    items: ReadonlyArray<WorkerState>,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const toWire = (worker: WorkerState): DesiredWorker =>
      sealWorker(worker, this.#options.node.sealingKey);
    const pieceItems = LIMITS.statePieceWorkers;
    return encodeLongMessage(head, { name, items, toWire, pieceItems });
  }

  #update(changes: Partial<NodeStatus>): void {
    this.#status = { ...this.#status, ...changes };
    this.#options.registry.update(this.#status);
  }

  #send(message: MessageToNode): void {
    if (!this.#closed) this.#options.send(encodeMessage(message));
  }
}
