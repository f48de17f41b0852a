import { statfs } from "node:fs/promises";
import { LIMITS } from "../limits.ts";

/**
 * What a node's key-value store may take of the disk that it is on, when nobody says: a share of the whole
 * disk, of which other nodes on the machine have as much each.
 */
export async function defaultKvBudget(directory: string): Promise<number> {
  const { blocks, bsize } = await statfs(directory);
  const bytes = Math.floor(blocks * bsize * LIMITS.kvBudgetShare);
  return Math.max(LIMITS.kvBudgetBytesMin, bytes);
}
