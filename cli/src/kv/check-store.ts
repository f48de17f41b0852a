import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { createLog } from "../log.ts";
import { UsageError } from "../settings.ts";
import { kvFile, openKvOrigin } from "./open-origin.ts";

/** What is wrong with the tables and indices that hold the keys and values of all accounts; empty when nothing is. */
export async function checkStore(options: {
  readonly data: string;
  readonly kvDatabase?: string;
}): Promise<ReadonlyArray<string>> {
  const dataDirectory = resolve(options.data);
  const { kvDatabase: url } = options;
  // It would be made anew, and be found sound.
  if (url === undefined && !existsSync(kvFile(dataDirectory))) {
    throw new UsageError(
      `${kvFile(dataDirectory)} does not exist: run this where the control plane runs, with its --data`,
    );
  }
  const origin = await openKvOrigin({ dataDirectory, url, log: createLog("kv-check-store") });
  try {
    return await origin.administration.checkStorage();
  } finally {
    await origin.close();
  }
}
