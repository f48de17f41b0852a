import { join, resolve } from "node:path";
import { moveInstallation, undoMove } from "@atoll/control-plane/move";
import { openBlobStore } from "../open-blob-store.ts";
import { Progress } from "../kv/progress.ts";
import { createLog } from "../log.ts";
import type { BucketAddress } from "../options.ts";
import { UsageError } from "../settings.ts";

/** Moves the installation of a data folder; says what was moved, and how to go on. */
export async function migrate(options: {
  readonly folder: string;
  readonly database?: string;
  readonly blobStore?: BucketAddress;
  readonly s3Endpoint?: string;
}): Promise<string> {
  const { database, blobStore, s3Endpoint } = options;
  if (database === undefined || blobStore === undefined) {
    throw new UsageError("Where to? It needs both --database and --blob-store");
  }
  const dataDirectory = resolve(options.folder);
  const place = { blobStore, ...(s3Endpoint === undefined ? {} : { s3Endpoint }) };
  const shown = `s3://${blobStore.bucket}/${blobStore.prefix}`;
  const blobs = await openBlobStore(place);
  const progress = new Progress();
  try {
    const moved = await moveInstallation({
      dataDirectory,
      masterKey: process.env["ATOLL_MASTER_KEY"],
      databaseUrl: database,
      blobs,
      blobStore: shown,
      onProgress: (text) => progress.show(text),
      now: new Date(),
      log: createLog("migrate"),
    });
    progress.end();
    return [
      `Moved and compared: ${moved.tables} tables with ${moved.rows} rows, ${moved.namespaces} namespaces with ${moved.keys} keys, ${moved.blobs} blobs and ${moved.values} large values.`,
      `Start the control plane with the same --database and --blob-store${s3Endpoint === undefined ? "" : " and --s3-endpoint"} from here on: the nodes go on from where they are.`,
      keyAdvice(dataDirectory),
      `${dataDirectory} is as it was, and marked as moved: nothing starts with what it holds.`,
    ].join("\n");
  } finally {
    progress.end();
    blobs.close();
  }
}

/** Takes back that a folder was moved; says what that means. */
export async function undoMigrate(folder: string): Promise<string> {
  const dataDirectory = resolve(folder);
  await undoMove({ dataDirectory, now: new Date() });
  return `${dataDirectory} is an installation of its own again, as it was when it was moved: what was changed since is not in it. Never run it beside the other one.`;
}

function keyAdvice(dataDirectory: string): string {
  if (process.env["ATOLL_MASTER_KEY"] !== undefined) {
    return "Every control plane needs the ATOLL_MASTER_KEY of this one.";
  }
  return `The master key stays in ${join(dataDirectory, "master.key")}: keep this --data, or give others a copy of the key.`;
}
