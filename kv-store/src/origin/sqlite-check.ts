import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";

// Runs in a thread of its own, in plain JavaScript: reading all of a large file takes seconds, and the origin's
// own connection would stand still for as long.
const CHECK = `
  const { parentPort, workerData } = require("node:worker_threads");
  const database = require(workerData.driver)(workerData.path, { readonly: true });
  parentPort.postMessage(database.pragma("integrity_check(20)").map((row) => row.integrity_check));
  database.close();
`;

/** What SQLite finds wrong with its tables and indices; empty when nothing is. */
export async function checkSqliteFile(path: string): Promise<ReadonlyArray<string>> {
  const driver = fileURLToPath(import.meta.resolve("better-sqlite3"));
  const worker = new Worker(CHECK, { eval: true, workerData: { path, driver } });
  try {
    const findings = await new Promise<ReadonlyArray<string>>((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
      worker.once("exit", () => reject(new Error("the check of the file ended early")));
    });
    return findings.filter((finding) => finding !== "ok");
  } finally {
    await worker.terminate();
  }
}
