import { z } from "zod";

/** Identifies a namespace: 32 lower-case hexadecimal digits, chosen once, never reused. */
export const NamespaceId = z
  .string()
  .regex(/^[0-9a-f]{32}$/, "a namespace id is 32 lower-case hexadecimal digits")
  .brand<"NamespaceId">();
export type NamespaceId = z.infer<typeof NamespaceId>;

/**
 * Position in the history of one namespace. The first write has revision 1, every later write exactly
 * one more: 0 means "before any write". Below 2^53, which a namespace does not reach.
 */
export const Revision = z.number().int().nonnegative().brand<"Revision">();
export type Revision = z.infer<typeof Revision>;

/** Identifies what a namespace holds: equal for equal entries, wherever they are and however they came. */
export const StateDigest = z
  .string()
  .regex(/^[0-9a-f]{32}$/)
  .brand<"StateDigest">();
export type StateDigest = z.infer<typeof StateDigest>;

/**
 * A place in a history and what it had led to there. Two histories that agree on a point go on alike from
 * it: the revision alone does not say so, because an origin may be restored from an older copy and go on.
 */
export const HistoryPoint = z.object({ revision: Revision, digest: StateDigest });
export type HistoryPoint = z.infer<typeof HistoryPoint>;
