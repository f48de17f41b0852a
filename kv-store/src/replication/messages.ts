import { z } from "zod";
import { Key, KvCondition } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { HistoryPoint, NamespaceId, Revision, StateDigest } from "../names.ts";

// Messages are plain objects, parsed once where they arrive. Unknown fields are ignored, so that a newer
// end can talk to an older one; everything else that does not fit ends the connection.

const Bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array);
const Counter = z.number().int().nonnegative();
/** Milliseconds since the epoch, by the clock by which the origin's entries expire. */
const OriginMs = z
  .number()
  .nonnegative()
  .max(LIMITS.expirationSecondsMax * 1_000);
/** Milliseconds of the node's monotonic clock: they mean something to that node alone, and in one life of it. */
const EchoMs = z.number().nonnegative();

/** Operations in the form of `record-codec.ts`, with the CRC-32 of `batch.ts`. */
const Body = z.object({ body: Bytes, checksum: Counter });

/**
 * A node names each of its subscriptions by a number that it never uses again on the connection: what
 * still arrives of an earlier one is told apart by it.
 */
const SubscriptionId = Counter;

/** Node to origin. */
export const MessageToOrigin = z.discriminatedUnion("kind", [
  /** Wants the history after `after`; with null the node holds nothing that it trusts and wants a snapshot. */
  z.object({
    kind: z.literal("subscribe"),
    subscription: SubscriptionId,
    namespace: NamespaceId,
    after: Revision.nullable(),
    /** Of the state as of `after`. A node of an older version has none, and gets a snapshot. */
    digest: StateDigest.optional(),
    /** A snapshot that was begun earlier, which goes on from here if the log still reaches back so far. */
    snapshot: HistoryPoint.extend({ after: Key.nullable() }).optional(),
    /** Pages need not have values: the node fetches those that are read. */
    valuesByReference: z.boolean().optional(),
  }),
  z.object({ kind: z.literal("unsubscribe"), subscription: SubscriptionId }),
  /** All that was sent up to this sequence number was processed: the window opens by as much. */
  z.object({ kind: z.literal("received"), sequence: Counter }),
  /** The node's clock, which the next heartbeats repeat. */
  z.object({ kind: z.literal("ping"), atMs: EchoMs }),
  z
    .object({
      kind: z.literal("write"),
      /** More than that of any write before it on the connection. */
      id: Counter,
      namespace: NamespaceId,
      count: z.number().int().positive().max(LIMITS.bulkWriteKeysMax),
      /** Under the checksum: an origin that does not know of them refuses the write, and never makes it without. */
      conditions: z.array(KvCondition).max(LIMITS.writeConditionsMax).readonly().optional(),
    })
    .extend(Body.shape),
]);
export type MessageToOrigin = z.infer<typeof MessageToOrigin>;

/** Origin to node. What has a `sequence` counts against the window until it is `received`. */
export const MessageFromOrigin = z.discriminatedUnion("kind", [
  /**
   * The records after `after` up to and including `revision`, none left out, and the state to which they led
   * the origin. Between pages they are for the snapshot.
   */
  z
    .object({
      kind: z.literal("batch"),
      subscription: SubscriptionId,
      sequence: Counter,
      after: Revision,
    })
    .extend(HistoryPoint.shape)
    .extend(Body.shape),
  /**
   * From here on pages follow of what is to replace all that the node holds, and between them the batches
   * after `revision` that bring what was collected up to date.
   */
  z
    .object({
      kind: z.literal("snapshot-start"),
      subscription: SubscriptionId,
      sequence: Counter,
      /** What the node said to hold was never a state of this history. */
      isOtherHistory: z.boolean().default(false),
    })
    .extend(HistoryPoint.shape),
  z
    .object({
      kind: z.literal("snapshot-page"),
      subscription: SubscriptionId,
      sequence: Counter,
      /** The keys behind this one (null: from the first) up to the other one, none left out. */
      after: Key.nullable(),
      through: Key,
      /** Of the entries in the body, in their order, eight bytes each. An origin of an older version has none. */
      revisions: Body.optional(),
    })
    .extend(Body.shape),
  /** What was collected is the whole state as of `revision`; `through` was the last key, null without any. */
  z
    .object({
      kind: z.literal("snapshot-end"),
      subscription: SubscriptionId,
      sequence: Counter,
      through: Key.nullable(),
    })
    .extend(HistoryPoint.shape),
  /** The namespace does not exist. */
  z.object({ kind: z.literal("gone"), subscription: SubscriptionId }),
  /** Where the histories stand, read after the node's clock showed `echoMs`; null before its first ping. */
  z.object({
    kind: z.literal("heartbeat"),
    /** Read after the ping, too. */
    atMs: OriginMs,
    echoMs: EchoMs.nullable(),
    positions: z
      .array(z.object({ subscription: SubscriptionId }).extend(HistoryPoint.shape))
      .max(LIMITS.subscriptionsMax),
  }),
  /** The write is durable, and its last operation has this revision. */
  z.object({ kind: z.literal("written"), id: Counter, revision: Revision }),
  /** The write did not happen. `code` is one of `KV_ERRORS`. */
  z.object({
    kind: z.literal("refused"),
    id: Counter,
    code: z.string().max(100),
    message: z.string().max(2_000),
    /** As `KvError` has it. */
    found: Revision.optional(),
  }),
]);
export type MessageFromOrigin = z.infer<typeof MessageFromOrigin>;
