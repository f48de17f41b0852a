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
