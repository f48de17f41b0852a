import type { UsageCounts, WorkerKey } from "@atoll/control-plane/contract";
import type { Clock, KvUse } from "@atoll/kv-store";
import type { CellMeter, MeteredCell, MeteredMember } from "../cells/cell-meter.ts";
import type { ServedRequest } from "../ingress/ingress.ts";
import { LIMITS } from "../limits.ts";
import { divide, type UsageOwner } from "./usage-counts.ts";

/** What a cell has as a whole, and its members share. */
const SHARED = ["cpuUs", "subrequests", "subrequestBytesOut", "subrequestBytesIn"] as const;
type Shared = Readonly<Record<(typeof SHARED)[number], number>>;

interface Member extends MeteredMember {
  /** Requests that ended so far. */
  requests: number;
}

interface Metered {
  readonly cell: MeteredCell;
  readonly members: ReadonlyArray<Member>;
  /** What was counted already. */
  counted: Shared;
  /** When it ended; until a while later requests are still told of. */
  endedAtMs: number | undefined;
}

export interface CellMetersOptions {
  /** Takes what was counted. */
  readonly ledger: { add(owner: UsageOwner, counts: Partial<UsageCounts>): void };
  /** What serves a worker now: whose request it was that no cell had. */
  readonly servingOf: (worker: WorkerKey) => UsageOwner | undefined;
  readonly clock: Clock;
}

const KV_COUNTS = {
  read: "kvReads",
  write: "kvWrites",
  delete: "kvDeletes",
  list: "kvLists",
} as const satisfies Record<KvUse, keyof UsageCounts>;

/** Finds out whose everything is that was used: requests by their cell, and what a cell used by its requests. */
export class CellMeters implements CellMeter {
  readonly #options: CellMetersOptions;
  readonly #metered = new Set<Metered>();
  readonly #memberAt = new Map<string, Member>();

  constructor(options: CellMetersOptions) {
    this.#options = options;
  }

  follow(cell: MeteredCell): void {
    const members = cell.members.map((member) => ({ ...member, requests: 0 }));
    const counted = { cpuUs: 0, subrequests: 0, subrequestBytesOut: 0, subrequestBytesIn: 0 };
    const metered: Metered = { cell, members, counted, endedAtMs: undefined };
    this.#metered.add(metered);
    for (const member of members) {
      if (member.socketPath !== undefined) this.#memberAt.set(member.socketPath, member);
    }
    void cell.ended.then(() => {
      metered.endedAtMs = this.#options.clock.monotonicMs();
    });
  }

  /** Counts a request for the version whose cell had it. */
  onServed({ worker, socketPath, status, isRefused, ...measured }: ServedRequest): void {
    if (isRefused === true) return;
    const member = socketPath === undefined ? undefined : this.#memberAt.get(socketPath);
    if (member !== undefined) member.requests += 1;
    const owner = member ?? this.#options.servingOf(worker);
    // Of a worker that was removed from here while the request came in.
    if (owner === undefined) return;
    const errors = status >= 500 ? 1 : 0;
    this.#options.ledger.add(ownerOf(owner), { ...measured, requests: 1, errors });
  }

  onKvUse(owner: UsageOwner, use: KvUse, count: number): void {
    this.#options.ledger.add(owner, { [KV_COUNTS[use]]: count });
  }

  /** Counts what cells used since the last time, and lets go of those that ended. */
  sample(): void {
    const nowMs = this.#options.clock.monotonicMs();
    for (const metered of this.#metered) {
      this.#settle(metered);
      const { endedAtMs, members } = metered;
      if (endedAtMs === undefined || nowMs - endedAtMs < LIMITS.lossMemoryMs) continue;
      this.#metered.delete(metered);
      for (const { socketPath } of members) {
        if (socketPath !== undefined) this.#memberAt.delete(socketPath);
      }
    }
  }

  #settle(metered: Metered): void {
    const { cell, members, counted } = metered;
    const { cpuNs, memoryPeakBytes } = cell.usage();
    const subrequests = cell.subrequests();
    const now: Shared = {
      cpuUs: Math.floor(cpuNs / 1_000),
      subrequests: subrequests.requests,
      subrequestBytesOut: subrequests.bytesSent,
      subrequestBytesIn: subrequests.bytesReceived,
    };
    // A cell that did nothing took no more memory either.
    if (SHARED.every((name) => now[name] === counted[name])) return;
    metered.counted = now;
    const weights = members.map(({ requests }) => requests);
    const parts = SHARED.map((name) => divide(now[name] - counted[name], weights));
    for (const [index, member] of members.entries()) {
      const part = Object.fromEntries(SHARED.map((name, at) => [name, parts[at]?.[index] ?? 0]));
      this.#options.ledger.add(ownerOf(member), { ...part, memoryPeakBytes });
    }
  }
}

function ownerOf({ worker, version, isStatic = false }: UsageOwner): UsageOwner {
  return { worker, version, isStatic };
}
