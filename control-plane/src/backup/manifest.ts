import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { BackupError } from "./backup-error.ts";

export const MANIFEST_FILE = "manifest.json";

/** What a backup says of itself. */
export const BackupManifest = z.object({
  format: z.literal(1, { error: "it is of a format that this Atoll does not know" }),
  createdAt: z.iso.datetime(),
  /** Of the desired state. */
  revision: z.number().int().nonnegative(),
  /** SHA-256 of each file but the blobs, by name. */
  files: z.record(z.string(), z.string()),
  /** Of code and files, and of the key-value store. */
  blobs: z.number().int().nonnegative(),
  values: z.number().int().nonnegative(),
});
export type BackupManifest = z.infer<typeof BackupManifest>;

export async function readManifest(backup: string): Promise<BackupManifest> {
  const text = await readFile(join(backup, MANIFEST_FILE), "utf8").catch((cause: unknown) => {
    throw new BackupError(`${backup} is no backup: it has no ${MANIFEST_FILE}`, { cause });
  });
  try {
    return BackupManifest.parse(JSON.parse(text));
  } catch (cause) {
    const [issue] = cause instanceof z.ZodError ? cause.issues : [];
    const reason =
      issue === undefined ? "it is not JSON" : `${issue.path.join(".")}: ${issue.message}`;
    throw new BackupError(`${join(backup, MANIFEST_FILE)} can't be read: ${reason}`, { cause });
  }
}

export async function fileHash(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(path)) hash.update(piece as Buffer);
  return hash.digest("hex");
}
