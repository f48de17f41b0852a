import { createHash } from "node:crypto";
import { lstat, mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EdgeError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { canCellsReach } from "../sandbox/cell-user.ts";
import type { Sandbox } from "../sandbox/sandbox.ts";

/**
 * Makes the directory in which cells get theirs. The preferred one when paths of unix sockets fit into it
 * and the user of cells reaches it, else one in the system's temporary directory, under a name that only
 * the preferred one gives, so that the next run finds it again. Rejected when that one is somebody else's.
 */
export async function openCellRoot(preferred: string, sandbox: Sandbox): Promise<string> {
  await mkdir(preferred, { recursive: true, mode: 0o700 });
  const isShort = Buffer.byteLength(preferred) <= LIMITS.runDirectoryBytesMax;
  if (isShort && (await canCellsReach(preferred, sandbox))) return preferred;
  const name = createHash("sha256").update(preferred).digest("hex").slice(0, 12);
  const root = join(tmpdir(), `atoll-${name}`);
  await mkdir(root, { recursive: true, mode: 0o700 });
  // Anybody may make a directory there, in expectation of ours.
  const { uid } = await lstat(root);
  if (uid !== process.getuid?.()) {
    throw new EdgeError("run_directory_unreachable", `${root} belongs to another user: remove it`);
  }
  return root;
}
