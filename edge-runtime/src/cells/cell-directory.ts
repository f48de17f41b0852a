import { chmod, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { HEALTH_SOCKET } from "../config/cell-interface.ts";
import { giveToCell } from "../sandbox/cell-user.ts";
import type { Sandbox } from "../sandbox/sandbox.ts";

/**
 * Makes the directory of a new cell. The cell may write in it, since that is where it listens; what is
 * below stays ours.
 */
export async function makeCellDirectory(directory: string, sandbox: Sandbox): Promise<void> {
  await mkdir(directory, { mode: 0o700 });
  // The second one stays empty for ever: the health socket answers with its listing.
  for (const name of ["sites", HEALTH_SOCKET]) {
    await mkdir(join(directory, name));
    await chmod(join(directory, name), 0o755);
  }
  await giveToCell(directory, sandbox);
}
