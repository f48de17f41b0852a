import { NamespaceId } from "@atoll/kv-store";
import { z } from "zod";
import { WorkerName } from "../contract/index.ts";
import { LIMITS } from "../limits.ts";

/** What a token may do; each role may what the ones before it may. */
export const ROLES = ["viewer", "deployer", "admin"] as const;
export type Role = (typeof ROLES)[number];

/** What a token is for: all of its account, or one thing of it. */
export type TokenScope =
  | { readonly kind: "account" }
  | { readonly kind: "worker"; readonly worker: WorkerName }
  | { readonly kind: "namespace"; readonly namespace: NamespaceId };

/** Body of `POST /accounts/:account/tokens`. */
export const TokenRequest = z
  .strictObject({
    name: z
      .string()
      .min(1)
      .max(LIMITS.tokenNameCharactersMax)
      .regex(/^\P{Cc}*$/u, "a name holds no control characters"),
    role: z.enum(ROLES),
    /** With it, the token is for this worker alone, which need not exist yet. */
    worker: WorkerName.optional(),
    namespace: NamespaceId.optional(),
    expires_at: z.iso.datetime().optional(),
  })
  .refine(({ worker, namespace }) => worker === undefined || namespace === undefined, {
    error: "a token is for one worker or for one namespace, not for both",
  })
  .refine((token) => token.role !== "admin" || isForAccount(token), {
    error:
      "an admin's token is for the whole account: one of a worker or namespace is a viewer's or deployer's",
  });
export type TokenRequest = z.infer<typeof TokenRequest>;

/** A token as it is listed: all that is known of it but itself. */
export const ListedToken = z.object({
  id: z.string(),
  name: z.string(),
  role: z.enum(ROLES),
  worker: z.string().nullable(),
  namespace: z.string().nullable(),
  created_at: z.string(),
  expires_at: z.string().nullable(),
  /** To the minute. */
  last_used_at: z.string().nullable(),
});
export type ListedToken = z.infer<typeof ListedToken>;

/** A token that was just made; `value` is shown this once. */
export const CreatedToken = ListedToken.extend({ value: z.string() });
export type CreatedToken = z.infer<typeof CreatedToken>;

function isForAccount(token: { readonly worker?: unknown; readonly namespace?: unknown }): boolean {
  return token.worker === undefined && token.namespace === undefined;
}
