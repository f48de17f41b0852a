import { z } from "zod";

/**
 * Which workers of an account share a cell. `per-worker`: only those that call each other. `shared`: small
 * ones as well, which saves memory and costs them their isolation from each other.
 */
export const CELL_POLICIES = ["per-worker", "shared"] as const;
export type CellPolicy = (typeof CELL_POLICIES)[number];

/** Below it a worker with a framework hardly starts; above it one account could fill a node. */
export const ACCOUNT_MEMORY_MIB = { min: 64, max: 4_096 } as const;

/** What an operator grants an account on every node. A sender of an older version names none of it. */
export const AccountSettings = z.object({
  cells: z.enum(CELL_POLICIES).default("per-worker"),
  /** What a cell may take above an idle one; the default is Cloudflare's limit of an isolate. */
  memoryMib: z.number().int().min(ACCOUNT_MEMORY_MIB.min).max(ACCOUNT_MEMORY_MIB.max).default(128),
});
export type AccountSettings = z.infer<typeof AccountSettings>;

export const DEFAULT_ACCOUNT_SETTINGS: AccountSettings = AccountSettings.parse({});
