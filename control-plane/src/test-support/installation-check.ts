import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { valuesNamedIn } from "@atoll/kv-store/management";
import { AssetStore } from "../assets/store.ts";
import { faultsOf } from "../backup/snapshot.ts";
import { KV_FILE } from "../backup/contents.ts";
import { DirectoryBlobStore } from "../blobs/directory-blob-store.ts";
import { readNamedBlobs } from "../blobs/named-blobs.ts";
import { BlobHash, Version } from "../contract/index.ts";
import type { Database, DatabasePlace } from "../database/database.ts";
import { DATABASE_FILE, openDatabase } from "../database/open-database.ts";
import { DeployedVersions } from "../deployments/schemas.ts";
import { readRevision } from "../desired-state/mutations.ts";
import { openInstallationKeys } from "../secrets/installation-keys.ts";
import { MASTER_KEY_FILE, MasterKeys } from "../secrets/master-keys.ts";
import { SecretSealer } from "../secrets/sealing.ts";
import { VersionStore } from "../versions/store.ts";

/**
 * Walks the database and the blobs of an installation and tells, in sentences, whatever is half there: rows
 * that refer to nothing, numbers with gaps, secrets that don't open, blobs that are missing or damaged. Its
 * control plane may be running. Empty when all is well.
 */
export async function checkInstallation(
  place: DatabasePlace & { readonly masterKey?: string },
): Promise<ReadonlyArray<string>> {
  const { dataDirectory, databaseUrl } = place;
  const files = databaseUrl === undefined ? [DATABASE_FILE, KV_FILE] : [];
  const faults = files.flatMap((name) => [...faultsOf(join(dataDirectory, name))]);
  const keys = await MasterKeys.load({
    file: join(dataDirectory, MASTER_KEY_FILE),
    fromEnvironment: place.masterKey,
  });
  const database = await openDatabase(place);
  try {
    await openInstallationKeys(database, keys);
    return [
      ...faults,
      ...(await checkWorkers(database, new VersionStore(new SecretSealer(keys)))),
      ...(await checkNumbers(database)),
      ...(await checkBlobs(database, dataDirectory)),
    ];
  } finally {
    await database.destroy();
  }
}

async function checkWorkers(
  database: Database,
  versions: VersionStore,
): Promise<ReadonlyArray<string>> {
  const findings: string[] = [];
  for (const worker of await database.selectFrom("workers").selectAll().execute()) {
    const stored = await database
      .selectFrom("versions")
      .select(["id", "number"])
      .where("worker_id", "=", worker.id)
      .execute();
    const newest = Math.max(0, ...stored.map(({ number }) => number));
    if (newest !== worker.version_number) {
      findings.push(
        `worker ${worker.name} counts ${worker.version_number} versions, and has ${newest}`,
      );
    }
    const ids = new Set(stored.map(({ id }) => id));
    const deployments = await database
      .selectFrom("deployments")
      .select("versions")
      .where("worker_id", "=", worker.id)
      .execute();
    if (deployments.length === 0) findings.push(`worker ${worker.name} has no deployment`);
    for (const deployment of deployments) {
      const deployed = DeployedVersions.parse(JSON.parse(deployment.versions));
      const missing = deployed.find(({ version_id: id }) => !ids.has(id));
      if (missing === undefined) continue;
      findings.push(
        `a deployment of ${worker.name} names the version ${missing.version_id}, which is not there`,
      );
    }
    for (const id of ids)
      findings.push(...(await checkSecrets(database, versions, { worker, id })));
  }
  return findings;
}

async function checkSecrets(
  database: Database,
  versions: VersionStore,
  {
    worker,
    id,
  }: { readonly worker: { readonly id: string; readonly name: string }; readonly id: string },
): Promise<ReadonlyArray<string>> {
  const row = await database
    .selectFrom("versions")
    .select("document")
    .where("id", "=", id)
    .executeTakeFirstOrThrow();
  const version = Version.parse(JSON.parse(row.document));
  const named = version.bindings.filter(({ type }) => type === "secret_text");
  const names = new Set(named.map(({ name }) => name));
  try {
    const opened = new Set(
      Object.keys(await versions.openSecrets(database, worker.id, version.id)),
    );
    const all = [...new Set([...names, ...opened])];
    return all
      .filter((name) => !names.has(name) || !opened.has(name))
      .map((name) => `secret ${name} of ${worker.name} is half there`);
  } catch (error) {
    return [`secrets of ${worker.name} don't open: ${String(error)}`];
  }
}

/** What is counted without gaps: changes of the desired state, and each account's trail. */
async function checkNumbers(database: Database): Promise<ReadonlyArray<string>> {
  const findings: string[] = [];
  const revision = await readRevision(database);
  const changes = await database
    .selectFrom("state_changes")
    .select("revision")
    .orderBy("revision")
    .execute();
  const last = changes.at(-1)?.revision ?? revision;
  if (last !== revision) {
    findings.push(`the desired state is at ${revision}, and its outbox at ${last}`);
  }
  if (hasGap(changes.map((change) => change.revision))) {
    findings.push("the outbox has a gap");
  }
  const trail = await database
    .selectFrom("audit")
    .select(["account_id", "sequence"])
    .orderBy("account_id")
    .orderBy("sequence")
    .execute();
  const byAccount = Map.groupBy(trail, ({ account_id: account }) => account);
  for (const [account, rows] of byAccount) {
    if (hasGap(rows.map(({ sequence }) => sequence))) {
      findings.push(`the trail of ${account} has a gap`);
    }
  }
  return findings;
}

function hasGap(numbers: ReadonlyArray<number>): boolean {
  return numbers.some((number, index) => index > 0 && number !== (numbers[index - 1] ?? 0) + 1);
}

async function checkBlobs(
  database: Database,
  dataDirectory: string,
): Promise<ReadonlyArray<string>> {
  const findings: string[] = [];
  const blobs = new DirectoryBlobStore(join(dataDirectory, "blobs"));
  const values = new DirectoryBlobStore(join(dataDirectory, "kv-values"));
  const kvFile = join(dataDirectory, KV_FILE);
  const named = {
    blobs: [
      ...(await readNamedBlobs(database, blobs)).all,
      ...(await new AssetStore().allBlobs(database)),
    ],
    "kv-values": existsSync(kvFile)
      ? valuesNamedIn(kvFile).map((hash) => BlobHash.parse(hash))
      : [],
  };
  for (const [area, store] of [
    ["blobs", blobs],
    ["kv-values", values],
  ] as const) {
    const stored = await storedIn(join(dataDirectory, area));
    for (const hash of new Set(named[area])) {
      if (!stored.has(hash)) findings.push(`${area}: ${hash} is named, and not there`);
    }
    for (const hash of stored) {
      await store.get(hash).catch(() => findings.push(`${area}: ${hash} is damaged`));
    }
  }
  return findings;
}

/** All blobs of a folder. What a crash left under names of its own is none. */
async function storedIn(folder: string): Promise<ReadonlySet<BlobHash>> {
  if (!existsSync(folder)) return new Set();
  const files = await readdir(folder, { recursive: true, withFileTypes: true });
  const hashes = files.filter((file) => file.isFile()).map(({ name }) => BlobHash.safeParse(name));
  return new Set(hashes.flatMap(({ data }) => (data === undefined ? [] : [data])));
}
