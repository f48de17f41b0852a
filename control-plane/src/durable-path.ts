import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

/** Resolves when a file's content, or a folder's names, are on disk. */
export async function sync(path: string): Promise<void> {
  const file = await open(path, "r");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Makes a file for its owner alone; resolves when its content is on disk, and its name once its folder is synced. */
export async function writeNew(path: string, content: string | Uint8Array): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

/**
 * Makes a file for its owner alone, or replaces it: after a crash it holds the old content or the new one, whole.
 * Resolves when it is on disk. For one caller at a time.
 */
export async function replaceDurably(path: string, content: string | Uint8Array): Promise<void> {
  const next = `${path}.new`;
  // What an earlier attempt left was never in use.
  await rm(next, { force: true });
  await writeNew(next, content);
  await rename(next, path);
  await sync(dirname(path));
}
