import { z } from "zod";
import { Tail, TailNews, TAILS_MAX } from "../contract/index.ts";

// Control planes of two releases meet while one is being replaced: unknown fields are ignored.

/** What a control plane with watchers tells another one. */
export const MessageFromWatchers = z.discriminatedUnion("kind", [
  /** All its tails: what is not in here ends. A connection begins without any. */
  z.object({
    kind: z.literal("tails"),
    tails: z.array(z.object({ tail: Tail, expiresAtMs: z.number() })).max(TAILS_MAX),
  }),
]);
export type MessageFromWatchers = z.infer<typeof MessageFromWatchers>;

/** What it is answered. */
export const MessageFromFollower = z.discriminatedUnion("kind", [
  /** All nodes there follow these of them. */
  z.object({ kind: z.literal("followed"), ids: z.array(z.uuid()).max(TAILS_MAX) }),
  z.object({ kind: z.literal("news"), news: TailNews }),
  /** Somebody ended one there. */
  z.object({ kind: z.literal("remove"), id: z.uuid() }),
]);
export type MessageFromFollower = z.infer<typeof MessageFromFollower>;
