import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import { WorkerKey, type ScheduledEnd, type ScheduledRun } from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import { isDatabaseFault, isDatabaseUnavailable } from "../database/unavailable.ts";
import { LIMITS } from "../limits.ts";
import { Carriers, type EventCarrier, type EventLink, type OpenCarrier } from "./carriers.ts";
import { parseCron } from "./cron.ts";
import { OccurrenceStore } from "./occurrence-store.ts";
import type { OccurrenceOutcome, RunnableOccurrence } from "./schemas.ts";

export interface DispatcherParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Runs schedules: makes a row of each occurrence when its time has come, gives it to one node, and keeps
 * what that tells, or gives it to another one. All that matters is in the database, so that it goes on
 * where it was after a crash, and several control planes share the work. See SCHEDULES.md.
 */
export class Dispatcher {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #occurrences = new OccurrenceStore();
  readonly #carriers = new Carriers();
  readonly #stopLooking: () => void;
  #looking: Promise<void> | undefined;
  #lastLookMs: number;
  /** Since when what nodes tell could be heard and stored: before that no lease ran out. */
  #listeningSinceMs: number;

  constructor({ database, clock, log }: DispatcherParts) {
    this.#database = database;
    this.#clock = clock;
    this.#log = log;
    this.#lastLookMs = clock.monotonicMs();
    this.#listeningSinceMs = this.#lastLookMs;
    this.#stopLooking = clock.every(LIMITS.scheduleLookMs, () => void this.look());
  }

  /** Does what is to do now; a call during another one is the same. Never rejects. */
  look(): Promise<void> {
    this.#looking ??= this.#look()
      .catch((error: unknown) => {
        // What nodes told meanwhile could not be stored either.
        if (isDatabaseFault(error)) this.#listeningSinceMs = this.#clock.monotonicMs();
        // That the database is away its connections say; the next look is due soon.
        if (isDatabaseUnavailable(error)) return;
        this.#log.error({ err: error }, "could not look at schedules");
      })
      .finally(() => (this.#looking = undefined));
    return this.#looking;
  }

  /** Resolves when nothing is under way. May be called twice. */
  async close(): Promise<void> {
    this.#stopLooking();
    await this.#looking;
  }

  /** Takes over a node's connection. */
  connect(events: EventCarrier): EventLink {
    const carrier: OpenCarrier = {
      node: events.node,
      send: (event) => events.send(event),
      acknowledge: (run) => events.acknowledge(run),
      runs: (worker) => events.runs(worker),
      running: new Set(),
      lastTurn: 0,
      isOpen: true,
    };
    let isGreeted = false;
    return {
      hold: async (runs) => {
        const isFirst = !isGreeted;
        isGreeted = true;
        await this.#hold(carrier, runs);
        if (!isFirst) return;
        await this.#loseOthers(carrier, runs);
        if (carrier.isOpen) this.#carriers.add(carrier);
      },
      ended: (end) => this.#ended(carrier, end),
      close: () => this.#carriers.remove(carrier),
    };
  }

  async #look(): Promise<void> {
    const monotonicMs = this.#clock.monotonicMs();
    // The process stood still, and what nodes sent meanwhile is not read yet.
    const isLate = monotonicMs - this.#lastLookMs > LIMITS.occurrenceLeaseMs / 2;
    if (isLate) this.#listeningSinceMs = monotonicMs;
    this.#lastLookMs = monotonicMs;
    const nowMs = this.#clock.nowMs();
    await this.#bringForward(nowMs);
    if (monotonicMs - this.#listeningSinceMs >= LIMITS.occurrenceLeaseMs) await this.#loseOverdue();
    await this.#dispatch(nowMs);
  }

  async #bringForward(nowMs: number): Promise<void> {
    for (const schedule of await this.#occurrences.dueSchedules(this.#database, isoOf(nowMs))) {
      const cron = parseCron(schedule.cron);
      const lookBackMs = nowMs - LIMITS.scheduleLookBackMs;
      const times: number[] = [];
      let nextMs = Date.parse(schedule.nextAt);
      if (nextMs < lookBackMs) nextMs = cron.next(lookBackMs);
      for (; nextMs <= nowMs; nextMs = cron.next(nextMs)) times.push(nextMs);
      const occurrences = times.slice(-LIMITS.occurrencesKeptMax).map((ms) => ({
        scheduledAt: isoOf(ms),
        isMissed: ms < nowMs - LIMITS.occurrenceMissedMs,
      }));
      const missed = occurrences.filter(({ isMissed }) => isMissed).length;
      if (missed > 0) this.#log.warn({ schedule: schedule.id, missed }, "occurrences were missed");
      // Beside other writers: the schedule's own row, which is changed first, is a lock that is enough.
      const transactions = this.#database.transaction().setIsolationLevel("read committed");
      await transactions.execute((transaction) =>
        this.#occurrences.bringForward(transaction, schedule, {
          occurrences,
          nextAt: isoOf(nextMs),
        }),
      );
    }
  }

  async #loseOverdue(): Promise<void> {
    const now = isoOf(this.#clock.nowMs());
    for (const run of await this.#occurrences.overdue(this.#database, now)) await this.#lose(run);
  }

  async #dispatch(nowMs: number): Promise<void> {
    for (const occurrence of await this.#occurrences.pending(this.#database, isoOf(nowMs))) {
      const isOld = Date.parse(occurrence.scheduledAt) < nowMs - LIMITS.occurrenceMissedMs;
      if (isOld && occurrence.attempts === 0) {
        this.#log.warn({ occurrence: occurrence.id }, "no node was there for an occurrence");
        await this.#occurrences.miss(this.#database, occurrence);
        continue;
      }
      const worker = WorkerKey.parse(`${occurrence.account}/${occurrence.worker}`);
      const carrier = this.#carriers.choose(worker);
      // All are full, or none is there: it waits for another look.
      if (carrier !== undefined) await this.#give(occurrence, worker, carrier);
    }
  }

  async #give(
    occurrence: RunnableOccurrence,
    worker: WorkerKey,
    carrier: OpenCarrier,
  ): Promise<void> {
    const { id, cron, attempts, scheduledAt } = occurrence;
    const run = { occurrence: id, attempt: attempts + 1 };
    carrier.running.add(id);
    const to = { node: carrier.node, leaseEndsAt: this.#leaseEndsAt() };
    let isClaimed = false;
    try {
      isClaimed = await this.#occurrences.claim(this.#database, occurrence, to);
    } finally {
      // Also when the database could not be asked: the next look may give it to another node.
      if (!isClaimed) carrier.running.delete(id);
    }
    if (!isClaimed) return;
    // It went meanwhile, perhaps after its next connection told what it has: it will not hear of this.
    if (!carrier.isOpen) return this.#lose(run);
    carrier.send({ run, worker, cron, scheduledMs: Date.parse(scheduledAt) });
  }

  /** A node has these: as long as it says so, nobody else gets them. */
  async #hold(carrier: OpenCarrier, runs: ReadonlyArray<ScheduledRun>): Promise<void> {
    const to = { node: carrier.node, leaseEndsAt: this.#leaseEndsAt() };
    for (const run of runs) {
      carrier.running.add(run.occurrence);
      await this.#occurrences.renew(this.#database, run, to);
    }
  }

  /** What the node was given before and does not have, it lost when it was started again. */
  async #loseOthers(carrier: OpenCarrier, runs: ReadonlyArray<ScheduledRun>): Promise<void> {
    const held = new Set(runs.map(({ occurrence, attempt }) => `${attempt} ${occurrence}`));
    for (const run of await this.#occurrences.heldBy(this.#database, carrier.node)) {
      if (!held.has(`${run.attempt} ${run.occurrence}`)) await this.#lose(run);
    }
  }

  async #ended(carrier: OpenCarrier, end: ScheduledEnd): Promise<void> {
    const { run, outcome, isFinal, wallMs } = end;
    // One that was held for lost and is waiting for another attempt needs none any more.
    const seen = { ...run, states: ["claimed", "pending"] as const };
    const retryAt = outcome === "ok" || isFinal ? undefined : this.#retryAt(run);
    const at = isoOf(this.#clock.nowMs());
    await this.#occurrences.end(this.#database, seen, { outcome, wallMs, at, retryAt });
    carrier.running.delete(run.occurrence);
    carrier.acknowledge(run);
    if (outcome !== "ok") this.#logFailure(run, outcome, retryAt);
  }

  async #lose(run: ScheduledRun): Promise<void> {
    const retryAt = this.#retryAt(run);
    const at = isoOf(this.#clock.nowMs());
    const lost = { outcome: "nodeLost", wallMs: null, at, retryAt } as const;
    await this.#occurrences.end(this.#database, { ...run, states: ["claimed"] }, lost);
    this.#carriers.release(run);
    this.#logFailure(run, "nodeLost", retryAt);
  }

  #logFailure(run: ScheduledRun, outcome: OccurrenceOutcome, retryAt: string | undefined): void {
    this.#log.warn({ ...run, outcome, retryAt }, "an attempt at an occurrence failed");
  }

  /** `undefined` when it was the last attempt. */
  #retryAt({ attempt }: ScheduledRun): string | undefined {
    if (attempt >= LIMITS.occurrenceAttemptsMax) return undefined;
    return isoOf(this.#clock.nowMs() + LIMITS.occurrenceRetryMs * 4 ** (attempt - 1));
  }

  #leaseEndsAt(): string {
    return isoOf(this.#clock.nowMs() + LIMITS.occurrenceLeaseMs);
  }
}

function isoOf(ms: number): string {
  return new Date(ms).toISOString();
}
