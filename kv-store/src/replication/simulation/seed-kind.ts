import { LIMITS } from "../../limits.ts";

/**
 * `hostile`: messages are lost, repeated, reordered and damaged, links go silent in one direction or both,
 * disks are slow, full, lose what they had not flushed, or change a bit, machines stand still, and the origin
 * starts with an older copy of all that it had. `sound`: links are cut and processes killed, but whatever
 * arrives is as it was sent; then nothing may ever need a repair. In both, clocks are set.
 */
export type World = "hostile" | "sound";

/** Every third seed is of a sound world. */
export function worldOf(seed: number): World {
  return seed % 3 === 0 ? "sound" : "hostile";
}

/**
 * `dense`: a minute in which something happens all the time. `ordinary`: minutes with seconds between, and faults
 * that last longer than every deadline. `quiet`: days, through which nodes are away for minutes, hours or more than
 * a week, entries expire, and the log ends where its age does.
 */
export const KINDS = ["dense", "ordinary", "quiet"] as const;
export type Kind = (typeof KINDS)[number];

/** Of six seeds three are dense, two are ordinary and one is quiet; each kind has sound worlds. */
const KINDS_IN_TURN = [
  ...["dense", "ordinary", "dense"],
  ...["quiet", "dense", "ordinary"],
] as ReadonlyArray<Kind>;

export function kindOf(seed: number): Kind {
  return KINDS_IN_TURN[Math.floor(seed / 3) % KINDS_IN_TURN.length] ?? "dense";
}

const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** How fast things happen in seeds of a kind, and how long they last. */
export interface Rhythm {
  /** So long everything fails that can. */
  readonly chaosMs: number;
  /** What happens follows what happened before within this time, unless it follows at once. */
  readonly pauseMs: number;
  /** Which share of what happens is a fault. */
  readonly faultShare: number;
  /** How often messages suffer, against the worst network. */
  readonly messageFaults: number;
  /** How much longer than in a dense minute faults last. */
  readonly faultScale: number;
  /** Which share of values are as large as they may be, in hostile worlds. */
  readonly largeShare: number;
  /** Entries expire after so many seconds, if they do. */
  readonly ttlSeconds: readonly [least: number, most: number];
  /** The origin's clock is wrong by less than this. */
  readonly clockErrorMs: number;
  /** A copy that the origin is restored from is younger than this. */
  readonly restoreMs: number;
  /** While somebody copies a namespace, and so long after each page, its log is kept. */
  readonly logHoldMs: number;
  /** How likely a commit cuts the log; where none does, only its age cuts it. */
  readonly logCuts: number;
  /** A read of the log brings no more records than this. */
  readonly logPageRecords: number;
  /** The origin looks for what has expired, and for records that are too old, this often. */
  readonly sweepMs: number;
  /** Nodes are away for so long, and come back for so long; absent where they are there all the time. */
  readonly absences?: {
    readonly awayMs: readonly [least: number, most: number];
    readonly backMs: readonly [least: number, most: number];
    /** One node is once away for longer than the log reaches back. */
    readonly longMs: readonly [least: number, most: number];
  };
}

export const RHYTHMS: Readonly<Record<Kind, Rhythm>> = {
  dense: {
    // Long enough for every deadline of the protocol to pass several times.
    chaosMs: MINUTE_MS,
    pauseMs: 500,
    faultShare: 0.15,
    messageFaults: 1,
    faultScale: 1,
    largeShare: 0.04,
    ttlSeconds: [1, 15],
    clockErrorMs: 20 * SECOND_MS,
    restoreMs: 20 * SECOND_MS,
    // Scaled to a run of a minute, so that logs end, and are held, within it.
    logHoldMs: 2 * SECOND_MS,
    logCuts: 0.2,
    logPageRecords: 6,
    sweepMs: LIMITS.sweepMs,
  },
  ordinary: {
    chaosMs: 5 * MINUTE_MS,
    pauseMs: 5 * SECOND_MS,
    faultShare: 0.2,
    messageFaults: 0.3,
    faultScale: 4,
    largeShare: 0.02,
    ttlSeconds: [LIMITS.expirationTtlSecondsMin, 180],
    clockErrorMs: MINUTE_MS,
    restoreMs: 2 * MINUTE_MS,
    logHoldMs: LIMITS.logHoldMs,
    logCuts: 0.2,
    logPageRecords: 20,
    sweepMs: LIMITS.sweepMs,
    absences: {
      awayMs: [10 * SECOND_MS, 2 * MINUTE_MS],
      backMs: [30 * SECOND_MS, 2 * MINUTE_MS],
      longMs: [2 * MINUTE_MS, 4 * MINUTE_MS],
    },
  },
  quiet: {
    chaosMs: 10 * DAY_MS,
    pauseMs: 2 * HOUR_MS,
    faultShare: 0.15,
    messageFaults: 1,
    faultScale: 1,
    largeShare: 0.01,
    ttlSeconds: [LIMITS.expirationTtlSecondsMin, (8 * DAY_MS) / SECOND_MS],
    clockErrorMs: HOUR_MS,
    restoreMs: 12 * HOUR_MS,
    logHoldMs: LIMITS.logHoldMs,
    logCuts: 0,
    logPageRecords: 100,
    // Every five seconds of a week would be all that such a seed does.
    sweepMs: 5 * MINUTE_MS,
    absences: {
      awayMs: [MINUTE_MS, 4 * DAY_MS],
      backMs: [3 * SECOND_MS, 15 * SECOND_MS],
      longMs: [LIMITS.logAgeMs + 6 * HOUR_MS, LIMITS.logAgeMs + 2 * DAY_MS],
    },
  },
};
