import { open } from "node:fs/promises";

/** Resolves when a file's content, or a folder's names, are on disk. */
export async function sync(path: string): Promise<void> {
  const file = await open(path, "r");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
