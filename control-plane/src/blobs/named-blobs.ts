import { AssetManifest, modulesOf, Version, type BlobHash } from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import { LIMITS } from "../limits.ts";
import { VersionNotes } from "../versions/schemas.ts";
import type { BlobStore } from "./blob-store.ts";

/** Which blobs versions name: directly, and through the manifests of their files. */
export interface NamedBlobs {
  readonly all: ReadonlySet<BlobHash>;
  /** Of these, the files that manifests name, by account. */
  readonly files: ReadonlyMap<string, ReadonlySet<BlobHash>>;
}

/** Reads what all versions name. Rejected when a manifest is not there or damaged: then nobody knows. */
export async function readNamedBlobs(
  database: Database,
  blobs: Pick<BlobStore, "get">,
): Promise<NamedBlobs> {
  const all = new Set<BlobHash>();
  const files = new Map<string, Set<BlobHash>>();
  // Versions of a worker mostly share their files: each manifest is read once for each account.
  const readManifests = new Set<string>();
  for await (const { account, hashes, manifest } of readVersions(database)) {
    for (const hash of hashes) all.add(hash);
    if (manifest === undefined || readManifests.has(`${account} ${manifest}`)) continue;
    readManifests.add(`${account} ${manifest}`);
    const own = files.get(account) ?? new Set();
    files.set(account, own);
    for (const hash of await readManifest(blobs, manifest)) {
      own.add(hash);
      all.add(hash);
    }
  }
  return { all, files };
}

/** A manifest that a version names is not there. */
export class MissingManifest extends Error {
  constructor(hash: BlobHash) {
    super(`the manifest ${hash} of a version is missing`);
  }
}

interface VersionNames {
  readonly account: string;
  readonly hashes: ReadonlyArray<BlobHash>;
  readonly manifest: BlobHash | undefined;
}

/** Page by page, so that it holds up nobody for long. */
async function* readVersions(database: Database): AsyncIterable<VersionNames> {
  let after = "";
  for (;;) {
    const rows = await database
      .selectFrom("versions")
      .innerJoin("workers", "workers.id", "versions.worker_id")
      .select(["versions.id", "versions.document", "versions.notes", "workers.account_id"])
      .where("versions.id", ">", after)
      .orderBy("versions.id")
      .limit(LIMITS.blobRowsPerStatement)
      .execute();
    const last = rows.at(-1);
    if (last === undefined) return;
    after = last.id;
    for (const row of rows) {
      const { code, assets } = Version.parse(JSON.parse(row.document));
      const { sourceMaps } = VersionNotes.parse(JSON.parse(row.notes));
      const manifest = assets?.manifest;
      const hashes = [
        ...modulesOf(code).map(({ blob }) => blob),
        ...sourceMaps.map(({ blob }) => blob),
      ];
      if (manifest !== undefined) hashes.push(manifest);
      yield { account: row.account_id, hashes, manifest };
    }
  }
}

async function readManifest(
  blobs: Pick<BlobStore, "get">,
  hash: BlobHash,
): Promise<ReadonlyArray<BlobHash>> {
  const content = await blobs.get(hash);
  if (content === undefined) throw new MissingManifest(hash);
  const manifest = AssetManifest.parse(JSON.parse(Buffer.from(content).toString()));
  return Object.values(manifest).map(({ blob }) => blob);
}
