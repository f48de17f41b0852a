import { constants } from "node:fs";
import { copyFile, readdir } from "node:fs/promises";
import { sync } from "../durable-path.ts";

/** Copies a file; resolves when its content is on disk, and its name once its folder is synced. */
export async function copyDurably(from: string, to: string): Promise<void> {
  await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  await sync(to);
}

/** Whether nothing is lost when something takes this place. */
export async function isFree(folder: string): Promise<boolean> {
  try {
    return (await readdir(folder)).length === 0;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return true;
    throw error;
  }
}
