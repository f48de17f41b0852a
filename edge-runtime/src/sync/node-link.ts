import { isDeepStrictEqual } from "node:util";
import {
  LinkChannel,
  type CellStatus,
  type ConfinementStatus,
  type KvStatus,
  type MessageToNode,
  type NodeReport,
} from "@atoll/control-plane/contract";
import type { Channel, Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import { LIMITS } from "../limits.ts";
import { FleetLink, type FleetLinkOptions } from "./fleet-link.ts";
import type { DayGate } from "../quotas/day-gate.ts";
import type { ScheduledRuns } from "../scheduled/scheduled-runs.ts";
import type { NodeTails } from "../tail/node-tails.ts";
import type { NodeUsage } from "../usage/node-usage.ts";
import type { ChangeOutcome, StateFollower } from "./state-follower.ts";

export interface NodeLinkOptions extends FleetLinkOptions {
  readonly follower: Pick<StateFollower, "revision" | "receive" | "retryFailed">;
  /** The node's key-value store. */
  readonly kv: { attach(channel: Channel): void; status(): ReadonlyArray<KvStatus> };
  readonly usage: Pick<NodeUsage, "connected" | "disconnected" | "acknowledged">;
  readonly dayGate: Pick<DayGate, "hear">;
  readonly scheduled: Pick<ScheduledRuns, "connected" | "disconnected" | "start" | "acknowledged">;
  readonly tails: Pick<NodeTails, "connected" | "disconnected" | "follow">;
  readonly cells: () => ReadonlyArray<CellStatus>;
  /** How cells ended. */
  readonly cellEnds: () => Pick<NodeReport, "cellFaults" | "cellEnds">;
  readonly confinement: ConfinementStatus;
  /** Where this node serves. */
  readonly ingressUrl: string;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * What travels on a node's link: desired state, scheduled events and tails in, acknowledgements, ends of events,
 * news, usage and reports out, KV both ways.
 */
export class NodeLink {
  readonly #options: NodeLinkOptions;
  readonly #link: FleetLink;
  readonly #stopReports: () => void;
  readonly #stopRetries: () => void;
  #channel: LinkChannel | undefined;
  /** What was reported on this connection, put together. */
  #reported: NodeReport = {};

  constructor(options: NodeLinkOptions) {
    this.#options = options;
    this.#link = new FleetLink(options, {
      connected: () => this.#onConnected(),
      received: (message) => this.#onMessage(message),
      disconnected: () => this.#onDisconnected(),
    });
    this.#stopReports = options.clock.every(LIMITS.reportMs, () => this.#report());
    this.#stopRetries = options.clock.every(LIMITS.failedWorkersRetryMs, () => this.#retryFailed());
  }

  /** Begins to connect, and reconnects until closed. */
  open(): void {
    this.#link.open();
  }

  get isConnected(): boolean {
    return this.#link.isConnected;
  }

  /** May be called twice. */
  close(): void {
    this.#stopReports();
    this.#stopRetries();
    this.#link.close();
  }

  #onConnected(): void {
    const channel = new LinkChannel({
      sendKv: (message) => this.#link.send({ kind: "kv", message }),
      end: (reason) => this.#link.reset(reason),
    });
    this.#channel = channel;
    this.#reported = {};
    this.#sayHello();
    this.#options.kv.attach(channel);
    this.#options.usage.connected((batch) => this.#link.send({ kind: "usage", batch }));
    this.#options.scheduled.connected({
      runs: (runs) => this.#link.send({ kind: "scheduled-runs", runs: [...runs] }),
      end: (end) => this.#link.send({ kind: "scheduled-end", end }),
    });
    this.#options.tails.connected({
      followed: (ids) => this.#link.send({ kind: "tails-followed", ids: [...ids] }),
      news: (news) => this.#link.send({ kind: "tail-news", news }),
      bufferedBytes: () => this.#link.bufferedBytes,
    });
    this.#report();
    // Its content may not have come because the control plane went.
    this.#retryFailed();
  }

  #onDisconnected(): void {
    this.#channel?.linkEnded();
    this.#channel = undefined;
    this.#options.usage.disconnected();
    this.#options.scheduled.disconnected();
    this.#options.tails.disconnected();
  }

  #onMessage(message: MessageToNode): void {
    switch (message.kind) {
      case "kv":
        return this.#channel?.receive(message.message);
      case "state":
        return this.#follow(message);
      case "usage-ack":
        return this.#options.usage.acknowledged(message.sequence);
      case "scheduled":
        return this.#options.scheduled.start(message.event);
      case "scheduled-ack":
        return this.#options.scheduled.acknowledged(message.run);
      case "day-quotas":
        return this.#options.dayGate.hear(message);
      case "tails":
        return void this.#options.tails.follow(message.tails);
    }
  }

  #follow(signed: { readonly body: Uint8Array; readonly signature: Uint8Array }): void {
    this.#tell(this.#options.follower.receive(signed));
  }

  #retryFailed(): void {
    if (this.#link.isConnected) this.#tell(this.#options.follower.retryFailed());
  }

  #tell(following: Promise<ChangeOutcome | undefined>): void {
    following.then(
      (outcome) => {
        if (outcome === undefined) return undefined;
        // What has to be asked for starts over: the control plane answers a hello with what follows.
        if (outcome.kind === "gap") return this.#sayHello();
        this.#link.send(
          outcome.kind === "applied" ? { ...outcome, failures: [...outcome.failures] } : outcome,
        );
        return this.#report();
      },
      (error: unknown) => {
        this.#options.log.error({ err: error }, "could not apply a desired state");
        this.#link.reset("a desired state could not be applied");
      },
    );
  }

  #sayHello(): void {
    const { follower, ingressUrl } = this.#options;
    this.#link.send({ kind: "hello", revision: follower.revision, ingressUrl });
  }

  #report(): void {
    if (!this.#link.isConnected) return;
    const { cells, kv, cellEnds, confinement } = this.#options;
    const report: NodeReport = {
      cells: [...cells()],
      kv: [...kv.status()],
      ...cellEnds(),
      confinement,
    };
    const news = changesSince(this.#reported, report);
    this.#reported = report;
    if (Object.keys(news).length > 0) this.#link.send({ kind: "report", report: news });
  }
}

/** The parts of a report that are not as they were. */
function changesSince(before: NodeReport, report: NodeReport): NodeReport {
  const known = new Map(Object.entries(before));
  return Object.fromEntries(
    Object.entries(report).filter(([part, value]) => !isDeepStrictEqual(value, known.get(part))),
  );
}
