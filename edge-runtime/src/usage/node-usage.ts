import type { UsageBatch } from "@atoll/control-plane/contract";
import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import { LIMITS } from "../limits.ts";
import { BatchFiles } from "./batch-files.ts";
import { CellMeters, type CellMetersOptions } from "./cell-meters.ts";
import { UsageLedger } from "./usage-ledger.ts";

/** What workers use on a node: counted, kept, and told to the control plane. */
export class NodeUsage {
  readonly meters: CellMeters;
  readonly #ledger: UsageLedger;
  readonly #log: Logger;
  readonly #stop: () => void;
  #send: ((batch: UsageBatch) => void) | undefined;
  /** Number of the batch that was sent over this connection and has no answer. */
  #sent: number | undefined;

  /** Goes on from what is in the directory, which is this node's alone. */
  static async open(options: {
    readonly directory: string;
    readonly versionOf: CellMetersOptions["versionOf"];
    readonly clock: Clock;
    readonly log: Logger;
  }): Promise<NodeUsage> {
    const ledger = await UsageLedger.open({ ...options, files: new BatchFiles(options) });
    return new NodeUsage({ ...options, ledger });
  }

  private constructor(parts: CellMetersOptions & { ledger: UsageLedger; log: Logger }) {
    this.#ledger = parts.ledger;
    this.#log = parts.log;
    this.meters = new CellMeters(parts);
    this.#stop = parts.clock.every(LIMITS.usageSealMs, () => this.#keep(this.#seal()));
  }

  /** Batches that the control plane has not acknowledged. */
  get pending(): number {
    return this.#ledger.pending;
  }

  /** Sends what waits, one batch at a time, over a new connection. */
  connected(send: (batch: UsageBatch) => void): void {
    this.#send = send;
    this.#sent = undefined;
    this.#keep(this.#sendOldest());
  }

  disconnected(): void {
    this.#send = undefined;
  }

  /** The control plane has everything up to this number. */
  acknowledged(sequence: number): void {
    const isNews = this.#sent !== undefined && sequence >= this.#sent;
    this.#sent = undefined;
    const forget = async (): Promise<void> => {
      await this.#ledger.acknowledge(sequence);
      // What does not move on is tried again later, not at the full speed of the link.
      if (isNews) await this.#sendOldest();
    };
    this.#keep(forget());
  }

  /** Seals the rest. For after the last cell's end. */
  async close(): Promise<void> {
    this.#stop();
    this.#send = undefined;
    this.meters.sample();
    await this.#ledger.seal();
  }

  async #seal(): Promise<void> {
    this.meters.sample();
    await this.#ledger.seal();
    await this.#sendOldest();
  }

  async #sendOldest(): Promise<void> {
    const send = this.#send;
    if (send === undefined || this.#sent !== undefined) return;
    const batch = await this.#ledger.oldest();
    // Meanwhile another call may have sent it, or the connection ended.
    if (batch === undefined || this.#sent !== undefined || this.#send !== send) return;
    this.#sent = batch.sequence;
    send(batch);
  }

  #keep(work: Promise<void>): void {
    work.catch((error: unknown) => this.#log.error({ err: error }, "usage could not be kept"));
  }
}
