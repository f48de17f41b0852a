import {
  USAGE_BATCH_ROWS_MAX,
  type UsageBatch,
  type UsageCounts,
  type UsageRow,
  usageRowKey,
} from "@atoll/control-plane/contract";
import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import { LIMITS } from "../limits.ts";
import type { BatchFiles } from "./batch-files.ts";
import { addCounts, noCounts, type MutableCounts, type UsageOwner } from "./usage-counts.ts";

const HOUR_MS = 60 * 60 * 1_000;

type MutableRow = MutableCounts & Pick<UsageRow, "worker" | "version" | "hour" | "isStatic">;

/** A batch that the control plane has not acknowledged. */
interface WaitingBatch {
  readonly sequence: number;
  readonly rows: Map<string, MutableRow>;
  /** It may have been sent, in this run or an earlier one: it must not change any more. */
  isClosed: boolean;
  /** What is on disk is what is here. */
  isStored: boolean;
}

/**
 * What workers used on this node, on its way to the control plane. Counts come together in memory; `seal`
 * puts them into batches on disk, from which they are sent, and there they stay until they are
 * acknowledged. A batch that was never sent takes in what follows it. See USAGE.md.
 */
export class UsageLedger {
  readonly #files: BatchFiles;
  readonly #clock: Clock;
  readonly #log: Logger;
  /** What is not sealed yet, by worker and version. */
  #counts = new Map<string, { readonly owner: UsageOwner; readonly counts: MutableCounts }>();
  /** In the order of their numbers. */
  #batches: WaitingBatch[];
  /** The highest number that was given. */
  #last: number;
  /** The latest of the steps that touch batches, which run one at a time. */
  #step: Promise<unknown> = Promise.resolve();

  static async open(options: {
    readonly files: BatchFiles;
    readonly clock: Clock;
    readonly log: Logger;
  }): Promise<UsageLedger> {
    const { batches, last } = await options.files.load();
    const waiting = batches.map(({ sequence, rows }) => ({
      sequence,
      rows: new Map(rows.map((row) => [usageRowKey(row), { ...row }])),
      isClosed: true,
      isStored: true,
    }));
    return new UsageLedger(options, { waiting, last });
  }

  private constructor(
    options: { readonly files: BatchFiles; readonly clock: Clock; readonly log: Logger },
    loaded: { readonly waiting: WaitingBatch[]; readonly last: number },
  ) {
    this.#files = options.files;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#batches = loaded.waiting;
    this.#last = loaded.last;
  }

  /** Counts; the next `seal` makes it last. */
  add(owner: UsageOwner, counts: Partial<UsageCounts>): void {
    const key = `${owner.worker} ${owner.version}`;
    let known = this.#counts.get(key);
    if (known === undefined) {
      known = { owner, counts: noCounts() };
      this.#counts.set(key, known);
    }
    addCounts(known.counts, counts);
  }

  /** Resolves when everything that was counted is on disk, or could not be written and is tried again. */
  seal(): Promise<void> {
    return this.#run(() => this.#seal());
  }

  /** Batches that are not acknowledged. */
  get pending(): number {
    return this.#batches.length;
  }

  /** The oldest batch that is not acknowledged, which from now on stays as it is. */
  oldest(): Promise<UsageBatch | undefined> {
    return this.#run(async () => {
      const [batch] = this.#batches;
      if (batch === undefined || !batch.isStored) return undefined;
      batch.isClosed = true;
      return contentOf(batch);
    });
  }

  /** Forgets what the control plane has: everything up to a number. */
  acknowledge(sequence: number): Promise<void> {
    return this.#run(async () => {
      const known = this.#batches.filter((batch) => batch.sequence <= sequence);
      this.#batches = this.#batches.filter((batch) => batch.sequence > sequence);
      if (sequence > this.#last) {
        // As after a backup of the node was brought back. What it numbers anew would be taken for seen.
        this.#log.error(
          { sequence, last: this.#last },
          "batches of usage were numbered further before",
        );
        this.#last = sequence;
      }
      if (known.length > 0) await this.#files.finish(known.map((batch) => batch.sequence));
    });
  }

  async #seal(): Promise<void> {
    const hour = new Date(Math.floor(this.#clock.nowMs() / HOUR_MS) * HOUR_MS).toISOString();
    const sealed = [...this.#counts.values()];
    this.#counts = new Map();
    const open = this.#batches.filter((batch) => !batch.isClosed);
    for (const { owner, counts } of sealed) {
      this.#place({ isStatic: false, ...owner, hour, ...counts }, open);
    }
    for (const batch of this.#batches) if (!batch.isStored) await this.#store(batch);
    await this.#drop();
  }

  /** Adds a row to the batch that has one of its version and hour, else to the last one or a new one. */
  #place(row: MutableRow, open: WaitingBatch[]): void {
    const key = usageRowKey(row);
    const last = open.at(-1);
    let batch =
      open.find(({ rows }) => rows.has(key)) ??
      (last === undefined || last.rows.size >= USAGE_BATCH_ROWS_MAX ? undefined : last);
    if (batch === undefined) {
      this.#last += 1;
      batch = { sequence: this.#last, rows: new Map(), isClosed: false, isStored: false };
      this.#batches.push(batch);
      open.push(batch);
    }
    const present = batch.rows.get(key);
    if (present === undefined) batch.rows.set(key, row);
    else addCounts(present, row);
    batch.isStored = false;
  }

  async #store(batch: WaitingBatch): Promise<void> {
    try {
      await this.#files.write(contentOf(batch));
      batch.isStored = true;
    } catch (error) {
      // Nothing later is sent before it, and the next seal writes it again.
      this.#log.error({ err: error, sequence: batch.sequence }, "usage could not be written");
    }
  }

  /** Gives up the oldest batches when there are too many: a bound that says so is better than a full disk. */
  async #drop(): Promise<void> {
    const dropped = this.#batches.slice(0, -LIMITS.usageBatchesMax);
    if (dropped.length === 0) return;
    this.#batches = this.#batches.slice(-LIMITS.usageBatchesMax);
    const requests = dropped
      .flatMap(({ rows }) => [...rows.values()])
      .reduce((sum, row) => sum + row.requests, 0);
    this.#log.error(
      { batches: dropped.length, requests },
      "usage is lost: the control plane was away for too long",
    );
    await this.#files.finish(dropped.map(({ sequence }) => sequence));
  }

  /** One step after the other: a batch is never sent while it changes. */
  #run<Result>(step: () => Promise<Result>): Promise<Result> {
    const ran = this.#step.then(step);
    this.#step = ran.catch(() => undefined);
    return ran;
  }
}

function contentOf({ sequence, rows }: WaitingBatch): UsageBatch {
  return { sequence, rows: [...rows.values()] };
}
