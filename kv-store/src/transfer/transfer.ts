import { systemClock } from "../clock.ts";
import { KvError } from "../errors.ts";
import type { Log } from "../log.ts";
import { checkNamespace } from "../management/namespace-check.ts";
import type { NamespaceId } from "../names.ts";
import { PostgresOrigin } from "../origin/postgres-origin.ts";
import { SourceFile } from "./source-file.ts";
import { TargetDatabase } from "./target-database.ts";

export { SourceFile } from "./source-file.ts";

export interface TransferOptions {
  /** The file of a `SqliteOrigin`. */
  readonly path: string;
  /** The address of the database. */
  readonly url: string;
  /** Told of each step, in a sentence. */
  readonly onProgress: (text: string) => void;
  readonly log: Log;
}

export interface CopySummary {
  readonly namespaces: number;
  readonly keys: number;
}

export interface TransferSummary extends CopySummary {
  /** Where the file is now: nothing uses it any more. */
  readonly setAside: string;
}

type SourceNamespace = ReturnType<SourceFile["namespaces"]>[number];

/**
 * Moves all namespaces from a SQLite file to a PostgreSQL database, as `copyToPostgres` does, and sets the file
 * aside. Fails with `busy` while a control plane has the file open; then the file is as it was.
 */
export async function transferToPostgres(options: TransferOptions): Promise<TransferSummary> {
  const source = SourceFile.open(options.path);
  try {
    const summary = await copyToPostgres({ ...options, source, others: "refuse" });
    return { ...summary, setAside: await source.setAside() };
  } finally {
    source.close();
  }
}

/**
 * Copies all namespaces of a file to a PostgreSQL database, as they are: entries, revisions, digests and log, so
 * that replicas go on where they were. Large values stay where they are. Nothing may use either meanwhile.
 * Each namespace comes in one transaction, so a copy that was cut short is finished by repeating it. Resolves when
 * all are there and compared. Fails with `storage_failed` when the database has not what was sent. What else it has
 * of namespaces is refused, when it may be somebody's, or replaced: then it has what the file has, and no more.
 */
export async function copyToPostgres(options: {
  readonly source: SourceFile;
  readonly url: string;
  readonly others: "refuse" | "replace";
  readonly onProgress: (text: string) => void;
  readonly log: Log;
}): Promise<CopySummary> {
  const { source, url, others, onProgress, log } = options;
  const namespaces = source.namespaces();
  const target = await TargetDatabase.open(url);
  try {
    if (others === "replace") await removeOthers(target, namespaces);
    // Before anything is sent: a database that is another store stays as it is.
    for (const row of namespaces) await requireSameHistory(target, row);
    for (const row of namespaces) await transferNamespace({ source, target, onProgress }, row);
    await target.addValues(source.knownValues());
    await target.addQuotas(source.quotas());
    await target.expireUpTo(source.expiredUpTo());
  } finally {
    await target.close();
  }
  await compareAll({ namespaces, url, onProgress, log });
  const keys = namespaces.reduce((sum, row) => sum + row.keys, 0);
  return { namespaces: namespaces.length, keys };
}

/** Leaves what the file has in the same way, from an earlier copy that was cut short. */
async function removeOthers(
  target: TargetDatabase,
  namespaces: ReadonlyArray<SourceNamespace>,
): Promise<void> {
  const rows = new Map<string, SourceNamespace>(namespaces.map((row) => [row.namespace, row]));
  for (const found of await target.findAll()) {
    const row = rows.get(found.namespace);
    const there = [found.revision, found.digest, found.logStart];
    const isSame =
      row !== undefined && String(there) === String([row.revision, row.digest, row.log_start]);
    if (!isSame) await target.remove(found);
  }
  await target.removeQuotas();
}

/** Whether the database has the namespace already, at the same point of its history. */
async function requireSameHistory(target: TargetDatabase, row: SourceNamespace): Promise<boolean> {
  const found = await target.find(row.namespace);
  // One that was never written to gives way.
  if (found === undefined || found.revision === 0) return false;
  if (found.revision === row.revision && found.digest === row.digest) return true;
  const text = `the database has namespace ${row.namespace} at revision ${found.revision} with another history than the file, which has revision ${row.revision}: it was written to there, or is another one's`;
  throw new KvError("storage_failed", text);
}

async function transferNamespace(
  parts: {
    readonly source: SourceFile;
    readonly target: TargetDatabase;
    readonly onProgress: (text: string) => void;
  },
  row: SourceNamespace,
): Promise<void> {
  const { source, target, onProgress } = parts;
  const { namespace, keys, revision, log_start } = row;
  if (await requireSameHistory(target, row)) return onProgress(`${namespace}: is there already`);
  const total = keys + revision - log_start;
  await target.add(row, {
    entries: source.entries(row.id),
    records: source.records(row.id),
    onProgress: (rows) => onProgress(`${namespace}: ${rows} of ${total} rows`),
  });
  return undefined;
}

/** Reads everything back. */
async function compareAll(options: {
  readonly namespaces: ReadonlyArray<SourceNamespace>;
  readonly url: string;
  readonly onProgress: (text: string) => void;
  readonly log: Log;
}): Promise<void> {
  const { namespaces, url, onProgress, log } = options;
  const origin = await PostgresOrigin.open({ url, clock: systemClock, log });
  try {
    for (const row of namespaces) {
      onProgress(`${row.namespace}: comparing`);
      const findings = [...(await differences(origin, row))];
      const [first] = findings;
      if (first === undefined) continue;
      const text = `namespace ${row.namespace} is not in the database as it is in the file: ${first}`;
      throw new KvError("storage_failed", text);
    }
  } finally {
    await origin.close();
  }
}

async function differences(
  origin: PostgresOrigin,
  row: SourceNamespace,
): Promise<ReadonlyArray<string>> {
  const namespace: NamespaceId = row.namespace;
  const extent = await origin.administration.describe(namespace);
  const { log } = extent;
  const moved = [extent.revision, extent.digest, extent.keys, extent.bytes];
  const start = [log.start.revision, log.start.digest, log.startMs, log.bytes];
  const expected = [row.revision, row.digest, row.keys, row.bytes];
  const expectedStart = [row.log_start, row.log_start_digest, row.log_start_ms, row.log_bytes];
  if (String([moved, start]) !== String([expected, expectedStart])) {
    return [`it has ${String([moved, start])}, not ${String([expected, expectedStart])}`];
  }
  return checkNamespace({ origin, namespace, checkValue: async () => undefined });
}
