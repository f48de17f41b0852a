import { constants } from "node:fs";
import { copyFile, readdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { sync } from "../durable-path.ts";
import { asBackupError, BackupError } from "./backup-error.ts";

/** Copies a file; resolves when its content is on disk, and its name once its folder is synced. */
export async function copyDurably(from: string, to: string): Promise<void> {
  await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  await sync(to);
}

/**
 * Rejected with a `BackupError` unless a folder that is made beside this place can take it and nothing is lost: it is
 * not there, or an empty folder.
 */
export async function requireFree(
  folder: string,
  what: { readonly whenTaken: string },
): Promise<void> {
  const found = await stat(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw asBackupError(error);
  });
  if (found === undefined) return;
  if (!found.isDirectory()) throw new BackupError(`${folder} is not a folder`);
  if (found.dev !== (await stat(dirname(folder))).dev) {
    throw new BackupError(
      `${folder} is where a disk is mounted, and no other folder can take its place: name one in it`,
    );
  }
  const names = await readdir(folder).catch((error: unknown) => {
    throw asBackupError(error);
  });
  if (names.length > 0) throw new BackupError(`${folder} is not empty: ${what.whenTaken}`);
}
