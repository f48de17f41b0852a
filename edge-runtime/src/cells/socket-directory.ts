import { createHash } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LIMITS } from "../limits.ts";

/**
 * The directory itself when paths of unix sockets fit into it, else one in the system's temporary
 * directory under a name that only this directory gives, so that the next run finds it again.
 */
export function socketDirectory(preferred: string): string {
  if (Buffer.byteLength(preferred) <= LIMITS.runDirectoryBytesMax) return preferred;
  const name = createHash("sha256").update(preferred).digest("hex").slice(0, 12);
  return join(tmpdir(), `atoll-${name}`);
}
