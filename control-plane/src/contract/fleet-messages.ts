import { z } from "zod";
import { DAY_QUOTAS_MAX, DayQuota } from "./day-quota.ts";
import { NodeName, Region, StateRevision } from "./names.ts";
import {
  ScheduledEnd,
  ScheduledEvent,
  ScheduledRun,
  SCHEDULED_RUNS_MAX,
} from "./scheduled-events.ts";
import { Tail, TailNews, TAILS_MAX } from "./tail.ts";
import { UsageBatch } from "./usage.ts";
import { WorkerKey } from "./worker-key.ts";
import { DesiredWorker } from "./worker.ts";

/**
 * A change of the desired state. A snapshot replaces all that a node had; a delta holds for a node
 * that applied exactly `from`. Fields that are unknown are ignored, so that a newer control plane
 * can lead older nodes.
 */
export const StateChange = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("snapshot"),
    revision: StateRevision,
    workers: z.array(DesiredWorker),
  }),
  z.object({
    kind: z.literal("delta"),
    from: StateRevision,
    revision: StateRevision,
    upserts: z.array(DesiredWorker),
    removals: z.array(WorkerKey),
  }),
]);
export type StateChange = z.infer<typeof StateChange>;

const Bytes = z.instanceof(Uint8Array);

/** Control plane to node. `body` is an encoded `StateChange`, `signature` Ed25519 over its bytes. */
export const MessageToNode = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("state"), body: Bytes, signature: Bytes }),
  /** A message of the key-value replication, which `@atoll/kv-store` parses. */
  z.object({ kind: z.literal("kv"), message: z.unknown() }),
  /** Every batch of this node's usage up to this number is on disk here, and may be forgotten there. */
  z.object({ kind: z.literal("usage-ack"), sequence: z.int().nonnegative() }),
  /** Run this once, and tell its end. */
  z.object({ kind: z.literal("scheduled"), event: ScheduledEvent }),
  /** The end of a run is on disk here, or nobody waits for it any more: it may be forgotten there. */
  z.object({ kind: z.literal("scheduled-ack"), run: ScheduledRun }),
  /** Every tail that somebody watches now: what is not in here ends. A connection begins without any. */
  z.object({ kind: z.literal("tails"), tails: z.array(Tail).max(TAILS_MAX) }),
  /** Accounts with a quota by day, of which something changed. `isFirst`: what was told before holds no more. */
  z.object({
    kind: z.literal("day-quotas"),
    isFirst: z.boolean(),
    quotas: z.array(DayQuota).max(DAY_QUOTAS_MAX),
  }),
]);
export type MessageToNode = z.infer<typeof MessageToNode>;

/** A running or waiting cell, as status pages show it. */
export const CellStatus = z.object({
  workers: z.array(z.string()),
  version: z.string(),
  state: z.enum(["starting", "warm", "draining"]),
  pid: z.number().int(),
  memoryBytes: z.number().int().nonnegative(),
  cpuMs: z.number().nonnegative(),
});
export type CellStatus = z.infer<typeof CellStatus>;

/**
 * Ends of cells that nobody wanted: for a limit, in the words of Workers' logs; by itself; by somebody who is
 * no part of the node; or before it served, because it did not start.
 */
export const CELL_FAULTS = [
  "exceededCpu",
  "exceededMemory",
  "crashed",
  "killed",
  "startFailed",
] as const;
export type CellFaultReason = (typeof CELL_FAULTS)[number];

/**
 * Ends that the node decided on: nobody used it; others needed its memory; fewer cells of its worker were
 * enough; a newer version took over; its worker is no longer wanted here; it started, but did not answer
 * as it has to before it replaces another one; the node stopped.
 */
export const CELL_STOPS = [
  "idle",
  "evicted",
  "surplus",
  "replaced",
  "removed",
  "unfit",
  "stopped",
] as const;
export type CellStopReason = (typeof CELL_STOPS)[number];

export type CellEndReason = CellFaultReason | CellStopReason;

/** A cell that ended as nobody wanted. */
export const CellFault = z.object({
  at: z.iso.datetime(),
  workers: z.array(z.string()),
  reason: z.enum(CELL_FAULTS),
});
export type CellFault = z.infer<typeof CellFault>;

/** How a node confines its cells. */
export const ConfinementStatus = z.object({
  sandbox: z.string(),
  /** What its host can't give, each in a sentence. */
  shortfalls: z.array(z.string().max(2_000)).max(20),
});
export type ConfinementStatus = z.infer<typeof ConfinementStatus>;

/** Why a node replaces its copy of a namespace: its disk has changed it, or the origin's history is another. */
const KvRepair = z.enum(["damaged", "other-history"]);

export const KvStatus = z.object({
  namespace: z.string(),
  revision: z.number().int().nonnegative(),
  /** Upper bound of how far behind the origin this replica's reads are; null before the first heartbeat. */
  lagMs: z.number().nonnegative().nullable(),
  /** Why the copy is being replaced now; null when it is not. Nodes of an older version tell none of these. */
  repairing: KvRepair.nullable().default(null),
  /** How often it was replaced since the node started, and why the last time. */
  repairs: z.number().int().nonnegative().default(0),
  lastRepair: KvRepair.nullable().default(null),
  /** `partial`: values are fetched when they are read. `filling`: they are on their way back. */
  extent: z.enum(["whole", "partial", "filling"]).default("whole"),
  /** What the copy takes of the node's disk, about. */
  bytes: z.number().int().nonnegative().default(0),
  /** The disk refuses changes: reads go on with what is held. */
  isStorageFailing: z.boolean().default(false),
  /** Of the state as of `revision`, by which a check compares it; null while nothing is held. */
  digest: z.string().nullable().default(null),
});
export type KvStatus = z.infer<typeof KvStatus>;

/**
 * What a node tells of itself, every few seconds and after each change, as far as it is not what it told before
 * on the same connection.
 */
export const NodeReport = z.object({
  cells: z.array(CellStatus).exactOptional(),
  kv: z.array(KvStatus).exactOptional(),
  /** The latest ends of cells that nobody wanted, newest last. Nodes of an older version tell none of these. */
  cellFaults: z.array(CellFault).max(100).exactOptional(),
  /** How many cells ended for each `CellEndReason` since the node's start; a newer node may know more. */
  cellEnds: z.record(z.string().max(50), z.int().nonnegative()).exactOptional(),
  confinement: ConfinementStatus.exactOptional(),
});
export type NodeReport = z.infer<typeof NodeReport>;

/** A worker whose desired version does not run on a node, and why. */
export const WorkerFailure = z.object({
  worker: WorkerKey,
  version: z.string(),
  reason: z.string().max(2_000),
});
export type WorkerFailure = z.infer<typeof WorkerFailure>;

/** Where a node serves. It becomes a link on the front page, so it can be no other kind of URL. */
const HttpUrl = z.url({ protocol: /^https?$/ }).max(2_000);

/** Node to control plane. */
export const MessageFromNode = z.discriminatedUnion("kind", [
  /** First message of a connection: the last revision that the node applied and keeps on disk. */
  z.object({ kind: z.literal("hello"), revision: StateRevision, ingressUrl: HttpUrl }),
  /**
   * The revision runs on this node: blobs are here, changed warm workers were switched. A worker among
   * `failures` could not be started and stays on what it ran before: one tenant's broken version must
   * not hold back everybody else's.
   */
  z.object({
    kind: z.literal("applied"),
    revision: StateRevision,
    failures: z.array(WorkerFailure),
  }),
  /** The change as a whole is no good here, as with a wrong signature: the node stays where it was. */
  z.object({ kind: z.literal("refused"), revision: StateRevision, reason: z.string().max(2_000) }),
  z.object({ kind: z.literal("report"), report: NodeReport }),
  z.object({ kind: z.literal("kv"), message: z.unknown() }),
  /** Answered with `usage-ack`. */
  z.object({ kind: z.literal("usage"), batch: UsageBatch }),
  /**
   * Every run that the node has, under way or ended and not acknowledged: once at the beginning of a
   * connection, before which it is given none, and every few seconds while it has any.
   */
  z.object({
    kind: z.literal("scheduled-runs"),
    runs: z.array(ScheduledRun).max(SCHEDULED_RUNS_MAX),
  }),
  /** Answered with `scheduled-ack`. */
  z.object({ kind: z.literal("scheduled-end"), end: ScheduledEnd }),
  /** The tails that the node follows: requests that it gets from now on are told. */
  z.object({ kind: z.literal("tails-followed"), ids: z.array(z.uuid()).max(TAILS_MAX) }),
  z.object({ kind: z.literal("tail-news"), news: TailNews }),
]);
export type MessageFromNode = z.infer<typeof MessageFromNode>;

/** `POST /fleet/enrol`: a new node presents its one-time token and the public half of its own key. */
export const EnrolRequest = z.strictObject({
  token: z.string().max(200),
  name: NodeName,
  region: Region,
  /** X25519 public key, raw 32 bytes in base64: secrets are sealed to it. */
  sealingKey: z.base64(),
});
export type EnrolRequest = z.infer<typeof EnrolRequest>;

export const EnrolResponse = z.object({
  /** Bearer credential of every later call of this node. */
  credential: z.string(),
  /** Ed25519 public key, SPKI PEM: desired states are signed with its private half. */
  fleetKey: z.string(),
});
export type EnrolResponse = z.infer<typeof EnrolResponse>;

/** Of the answer that a key has no such value any more: the revision of its namespace at which it is so. */
export const KV_REVISION_HEADER = "x-atoll-kv-revision";
