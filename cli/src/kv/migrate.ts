import { resolve } from "node:path";
import { requireNotMoved } from "@atoll/control-plane/move-mark";
import { KvError } from "@atoll/kv-store";
import { createLog } from "../log.ts";
import { UsageError } from "../settings.ts";
import { kvFile } from "./open-origin.ts";
import { Progress } from "./progress.ts";

/** Moves all keys and values from a control plane's data folder to a database; says what was moved. */
export async function migrateKv(options: {
  readonly data: string;
  readonly kvDatabase: string;
}): Promise<string> {
  const { transferToPostgres } = await import("@atoll/kv-store/transfer");
  const dataDirectory = resolve(options.data);
  requireNotMoved(dataDirectory);
  const progress = new Progress();
  try {
    const { namespaces, keys, setAside } = await transferToPostgres({
      path: kvFile(dataDirectory),
      url: options.kvDatabase,
      onProgress: (text) => progress.show(text),
      log: createLog("kv-migrate"),
    });
    progress.end();
    return `${namespaces} namespaces with ${keys} keys are in the database, compared with the file, which is ${setAside} now. Start the control plane with --kv-database from here on.`;
  } catch (error) {
    if (!(error instanceof KvError)) throw error;
    const text = `${error.message}. The file is as it was; the same command may be repeated.`;
    throw new UsageError(text, { cause: error });
  } finally {
    progress.end();
  }
}
