import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { takeFileLock, type FileLock } from "@atoll/control-plane/file-lock";
import { UsageError } from "../settings.ts";

// Whose `atoll up` was killed ends its requests first, and the next one may start meanwhile.
const WAIT_MS = 5_000;
const LOOK_MS = 100;

/**
 * Makes a data folder and keeps other processes of its kind from it until the lock is closed: a second one would end
 * the first one's cells, and write to its files. Throws a `UsageError` while another one has it.
 */
export async function lockData(
  folder: string,
  { kind, mode }: { readonly kind: "Atoll" | "control plane" | "node"; readonly mode?: number },
): Promise<FileLock> {
  await mkdir(folder, { recursive: true, ...(mode === undefined ? {} : { mode }) });
  const path = join(folder, `${kind.toLowerCase().replace(" ", "-")}.lock`);
  for (let waitedMs = 0; ; waitedMs += LOOK_MS) {
    const lock = takeFileLock(path);
    if (lock !== undefined) return lock;
    if (waitedMs >= WAIT_MS) break;
    await wait(LOOK_MS);
  }
  throw new UsageError(
    `Another ${kind} uses ${folder}: stop that one first, or choose another folder`,
  );
}
