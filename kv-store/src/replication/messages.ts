import { z } from "zod";
import { Key } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { NamespaceId, Revision } from "../names.ts";

// Messages are plain objects, parsed once where they arrive. Unknown fields are ignored, so that a newer
// end can talk to an older one; everything else that does not fit ends the connection.

const Bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array);
const Counter = z.number().int().nonnegative();
/** Milliseconds of the sender's wall clock, since the epoch. */
const WallMs = z.number().nonnegative();
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
  /** Wants the history after `after`; with null the node holds nothing and wants a snapshot. */
  z.object({
    kind: z.literal("subscribe"),
    subscription: SubscriptionId,
    namespace: NamespaceId,
    after: Revision.nullable(),
    /** A snapshot that was begun earlier, which goes on from here if the log still reaches back so far. */
    snapshot: z.object({ revision: Revision, after: Key.nullable() }).optional(),
  }),
  z.object({ kind: z.literal("unsubscribe"), subscription: SubscriptionId }),
  /** All that was sent up to this sequence number was processed: the window opens by as much. */
  z.object({ kind: z.literal("received"), sequence: Counter }),
  /** The node's clock, which the next heartbeats repeat. */
  z.object({ kind: z.literal("ping"), atMs: EchoMs }),
  z
    .object({
      kind: z.literal("write"),
      id: Counter,
      namespace: NamespaceId,
      count: z.number().int().positive().max(LIMITS.bulkWriteKeysMax),
    })
    .extend(Body.shape),
]);
export type MessageToOrigin = z.infer<typeof MessageToOrigin>;

/** Origin to node. What has a `sequence` counts against the window until it is `received`. */
export const MessageFromOrigin = z.discriminatedUnion("kind", [
  /** The records after `after` up to and including `revision`, none left out; between pages, of the snapshot. */
  z
    .object({
      kind: z.literal("batch"),
      subscription: SubscriptionId,
      sequence: Counter,
      after: Revision,
      revision: Revision,
    })
    .extend(Body.shape),
  /**
   * From here on pages follow of what is to replace all that the node holds, and between them the batches
   * after `revision` that bring what was collected up to date.
   */
  z.object({
    kind: z.literal("snapshot-start"),
    subscription: SubscriptionId,
    sequence: Counter,
    revision: Revision,
  }),
  z
    .object({
      kind: z.literal("snapshot-page"),
      subscription: SubscriptionId,
      sequence: Counter,
      /** The keys behind this one (null: from the first) up to the other one, none left out. */
      after: Key.nullable(),
      through: Key,
    })
    .extend(Body.shape),
  /** What was collected is the whole state as of `revision`; `through` was the last key, null without any. */
  z.object({
    kind: z.literal("snapshot-end"),
    subscription: SubscriptionId,
    sequence: Counter,
    revision: Revision,
    through: Key.nullable(),
  }),
  /** The namespace does not exist. */
  z.object({ kind: z.literal("gone"), subscription: SubscriptionId }),
  /** The latest revisions, read after the node's clock showed `echoMs`; null before its first ping. */
  z.object({
    kind: z.literal("heartbeat"),
    atMs: WallMs,
    echoMs: EchoMs.nullable(),
    positions: z
      .array(z.object({ subscription: SubscriptionId, revision: Revision }))
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
  }),
]);
export type MessageFromOrigin = z.infer<typeof MessageFromOrigin>;
