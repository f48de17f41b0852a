import { writeFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { restoreBackup } from "@atoll/control-plane";
import { starterMarker } from "../up/starter-marker.ts";
import { asUsage } from "./backup.ts";

/** Makes a data folder from a backup; says what was restored. */
export async function restore(options: {
  readonly data: string;
  readonly folder: string;
  /** Whether it is the data folder of `atoll up`. */
  readonly isOfUp: boolean;
}): Promise<string> {
  const dataDirectory = resolve(options.data);
  try {
    const restored = await restoreBackup({
      from: resolve(options.folder),
      dataDirectory,
      masterKey: process.env["ATOLL_MASTER_KEY"],
      now: new Date(),
    });
    // The installation is not a new one, though it may look like one to `atoll up`.
    if (options.isOfUp) await writeFile(starterMarker(dirname(dataDirectory)), "");
    const { createdAt, revision, restoredRevision, blobs, values } = restored;
    return [
      `Restored to ${dataDirectory} what was backed up at ${createdAt}, verified: ${blobs} blobs and ${values} large values.`,
      `Revision ${revision} of then goes on as ${restoredRevision}. Start the control plane: the nodes follow.`,
    ].join("\n");
  } catch (error) {
    throw asUsage(error);
  }
}
