import type { UsageBatch } from "@atoll/control-plane/contract";
import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import { LIMITS } from "../limits.ts";
import type { DayGate } from "../quotas/day-gate.ts";
import { BatchFiles } from "./batch-files.ts";
import { CellMeters, type CellMetersOptions } from "./cell-meters.ts";
import { UsageLedger } from "./usage-ledger.ts";

type Charged = Pick<DayGate, "count" | "save">;

/** What workers use on a node: counted, kept, and told to the control plane. */
export class NodeUsage {
  readonly meters: CellMeters;
  readonly #ledger: UsageLedger;
  readonly #charged: Charged;
  readonly #log: Logger;
  readonly #stop: () => void;
  #send: ((batch: UsageBatch) => void) | undefined;
  /** Number of the batch that was sent over this connection and has no answer. */
  #sent: number | undefined;

  /** Goes on from what is in the directory, which is this node's alone. */
  static async open(options: {
    readonly directory: string;
    readonly servingOf: CellMetersOptions["servingOf"];
    /** Hears of all that is counted. */
    readonly charged: Charged;
    readonly clock: Clock;
    readonly log: Logger;
  }): Promise<NodeUsage> {
    const ledger = await UsageLedger.open({ ...options, files: new BatchFiles(options) });
    return new NodeUsage({ ...options, ledger });
  }

  private constructor(
    parts: Omit<CellMetersOptions, "ledger"> & {
      readonly ledger: UsageLedger;
      readonly charged: Charged;
      readonly log: Logger;
    },
  ) {
    const { ledger, charged } = parts;
    this.#ledger = ledger;
    this.#charged = charged;
    this.#log = parts.log;
    const add: UsageLedger["add"] = (owner, counts) => {
      ledger.add(owner, counts);
      charged.count(owner, counts);
    };
    this.meters = new CellMeters({ ...parts, ledger: { add } });
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
    await this.#keepAll();
  }

  async #seal(): Promise<void> {
    await this.#keepAll();
    await this.#sendOldest();
  }

  /** What is sent is known here as well: it must not look as if this node had used less than it told. */
  async #keepAll(): Promise<void> {
    this.meters.sample();
    await this.#ledger.seal();
    await this.#charged.save();
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
