import { join } from "node:path";
import { Slots } from "@atoll/kv-store";
import { valuesNamedIn } from "@atoll/kv-store/management";
import { Kysely, SqliteDialect } from "kysely";
import SqliteDatabase from "better-sqlite3";
import { AssetStore } from "../assets/store.ts";
import { openedHash, requireStoredHash } from "../blobs/blob-hash.ts";
import type { BlobArea, BlobStore } from "../blobs/blob-store.ts";
import { DirectoryBlobStore } from "../blobs/directory-blob-store.ts";
import { MissingManifest, readNamedBlobs } from "../blobs/named-blobs.ts";
import { BlobHash } from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import { DATABASE_FILE } from "../database/open-database.ts";
import type { Schema } from "../database/schema.ts";
import { readRevision } from "../desired-state/mutations.ts";
import { LIMITS } from "../limits.ts";
import { BackupError } from "./backup-error.ts";

/** Name of the file of keys and values. */
export const KV_FILE = "kv.sqlite";

/** The blobs that belong to the databases of a folder. */
export interface Contents {
  readonly revision: number;
  readonly blobs: ReadonlySet<BlobHash>;
  readonly values: ReadonlySet<BlobHash>;
}

/** Reads what the databases in `folder` name; manifests of files are read from `blobs`. */
export async function readContents(
  folder: string,
  blobs: Pick<BlobStore, "get">,
): Promise<Contents> {
  const file = new SqliteDatabase(join(folder, DATABASE_FILE), {
    readonly: true,
    fileMustExist: true,
  });
  const database = new Kysely<Schema>({ dialect: new SqliteDialect({ database: file }) });
  try {
    return await readContentsOf(database, { values: valuesNamedIn(join(folder, KV_FILE)), blobs });
  } finally {
    await database.destroy();
  }
}

/** The same of databases that are open: `values` are those that the one of keys and values names. */
export async function readContentsOf(
  database: Database,
  parts: { readonly values: ReadonlyArray<string>; readonly blobs: Pick<BlobStore, "get"> },
): Promise<Contents> {
  const { all } = await readNamedBlobs(database, parts.blobs).catch((error: unknown) => {
    if (!(error instanceof MissingManifest)) throw error;
    throw new MissingBlob(error.message, { cause: error });
  });
  const uploaded = await new AssetStore().allBlobs(database);
  return {
    revision: await readRevision(database),
    blobs: new Set([...all, ...uploaded]),
    values: new Set(parts.values.map((hash) => BlobHash.parse(hash))),
  };
}

/** Told after each blob. */
type BlobListener = () => void;

/** Where the blobs of an installation, or of a backup, are. */
export class ContentStores {
  readonly blobs: BlobStore;
  readonly values: BlobStore;

  constructor(open: (area: BlobArea) => BlobStore) {
    this.blobs = open("blobs");
    this.values = open("kv-values");
  }

  static in(folder: string): ContentStores {
    return new ContentStores((area) => new DirectoryBlobStore(join(folder, area)));
  }

  /** Copies what `to` lacks; every byte is hashed on the way. Rejected with a `MissingBlob`, or a `blob_mismatch`. */
  async copyTo(
    to: ContentStores,
    contents: Contents,
    onBlob: BlobListener = () => {},
  ): Promise<void> {
    const copying = async (hash: BlobHash, from: ReadonlyArray<BlobStore>, into: BlobStore) => {
      await copy(hash, from, into);
      onBlob();
    };
    await each(contents.blobs, (hash) => copying(hash, [this.blobs], to.blobs));
    // An earlier version kept values beside everything else.
    await each(contents.values, (hash) => copying(hash, [this.values, this.blobs], to.values));
  }

  /** Reads and hashes all of them. Rejected with a `MissingBlob`, or `blob_corrupt`. */
  async verify(contents: Contents, onBlob: BlobListener = () => {}): Promise<void> {
    const reading = async (hash: BlobHash, store: BlobStore) => {
      await verify(hash, store);
      onBlob();
    };
    await each(contents.blobs, (hash) => reading(hash, this.blobs));
    await each(contents.values, (hash) => reading(hash, this.values));
  }
}

/** A blob that is named and not there. */
export class MissingBlob extends BackupError {}

async function copy(hash: BlobHash, from: ReadonlyArray<BlobStore>, to: BlobStore): Promise<void> {
  if (await to.has(hash)) return;
  for (const store of from) {
    const opened = await store.open(hash);
    if (opened !== undefined) return to.put(hash, opened.content);
  }
  throw new MissingBlob(`The blob ${hash} is named, but is not there`);
}

/** Piece by piece: a blob need not fit into memory as often as there are reads at once. */
async function verify(hash: BlobHash, store: BlobStore): Promise<void> {
  const opened = await store.open(hash);
  if (opened === undefined) throw new MissingBlob(`The blob ${hash} is named, but is not there`);
  requireStoredHash(hash, await openedHash(opened));
}

async function each(
  hashes: ReadonlySet<BlobHash>,
  action: (hash: BlobHash) => Promise<void>,
): Promise<void> {
  const slots = new Slots(LIMITS.blobWritesAtOnce);
  let failure: unknown;
  await Promise.all(
    [...hashes].map((hash) =>
      slots.run(async () => {
        if (failure !== undefined) return;
        await action(hash).catch((error: unknown) => {
          failure ??= error;
        });
      }),
    ),
  );
  if (failure !== undefined) throw failure;
}
