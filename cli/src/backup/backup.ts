import { resolve } from "node:path";
import { BackupError, backUp } from "@atoll/control-plane";
import { UsageError } from "../settings.ts";

/** Backs up the control plane of a data folder; says what is in the backup. */
export async function makeBackup(options: {
  readonly data: string;
  readonly folder: string;
  readonly withoutKey: boolean;
}): Promise<string> {
  const to = resolve(options.folder);
  try {
    const { blobs, values, files, revision, createdAt } = await backUp({
      dataDirectory: resolve(options.data),
      to,
      isWithoutKey: options.withoutKey,
      now: new Date(),
    });
    const key = "master.key" in files ? "" : "\nThe master key is not in it: keep it elsewhere.";
    return `Backed up at ${createdAt}, verified: revision ${revision}, ${blobs} blobs and ${values} large values in ${to}${key}`;
  } catch (error) {
    throw asUsage(error);
  }
}

/** What the operator can mend is told without a stack. */
export function asUsage(error: unknown): unknown {
  return error instanceof BackupError ? new UsageError(error.message, { cause: error }) : error;
}
