import { createHash, randomUUID } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { severalAtOnce, Slots, writeSynced } from "@atoll/kv-store";
import type { BlobHash } from "../contract/index.ts";
import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import {
  blobHashOf,
  openedHash,
  requireSentHash,
  requireStoredHash,
  type HashedContent,
} from "./blob-hash.ts";
import type { Admission, BlobBatches, BlobContent, BlobStore, OpenBlob } from "./blob-store.ts";
import { openBlobFile } from "./open-blob-file.ts";
import { SyncedFolders } from "./synced-folders.ts";

/**
 * Blobs as files `<first two digits>/<hash>` of one directory: 256 folders keep each of them small.
 * A blob appears whole or not at all, because it is written beside its place, synced and renamed.
 */
export class DirectoryBlobStore implements BlobStore {
  readonly #directory: string;
  readonly #writes = new Slots(LIMITS.blobWritesAtOnce);
  readonly #folders = new SyncedFolders();
  /** Folders that are there, and rid of what a crash left in them. */
  readonly #prepared = new Map<string, Promise<void>>();

  /** The directory is made when the first blob is stored. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  async put(hash: BlobHash, content: BlobContent): Promise<void> {
    const isWhole = content instanceof Uint8Array;
    if (isWhole) requireSentHash(hash, blobHashOf(content));
    await this.#atWork(async () => {
      // What is put alone often is there: the manifest of files that did not change.
      if (isWhole) await this.#writes.run(() => this.#writeUnlessThere(hash, content));
      else await this.#write(hash, content);
      await this.#syncNames([this.#folderOf(hash)]);
    });
  }

  async putAll(batches: BlobBatches, admit: Admission = admitAll): Promise<void> {
    const written: WrittenBlob[] = [];
    await this.#atWork(async () => {
      try {
        const folders = new Set<string>();
        for await (const batch of batches) {
          await this.#writeBatch(batch, { admit, written });
          for (const { hash } of batch) folders.add(this.#folderOf(hash));
        }
        // Once for all batches, like what follows: most of them have a file in most folders.
        await admit(written.map(({ hash }) => hash));
        await this.#inTurns(written, ({ hash, temporary }) => this.#name(temporary, hash));
        await this.#syncNames([...folders]);
      } catch (error) {
        await this.#inTurns(written, ({ temporary }) => rm(temporary, { force: true }));
        throw error;
      }
    });
  }

  async open(hash: BlobHash): Promise<OpenBlob | undefined> {
    return absentAsUndefined(openBlobFile(this.#pathOf(hash)));
  }

  async get(hash: BlobHash): Promise<Uint8Array | undefined> {
    const content = await absentAsUndefined(readFile(this.#pathOf(hash)));
    if (content !== undefined) requireStoredHash(hash, blobHashOf(content));
    return content;
  }

  async has(hash: BlobHash): Promise<boolean> {
    return (await absentAsUndefined(stat(this.#pathOf(hash)))) !== undefined;
  }

  async remove(hash: BlobHash): Promise<void> {
    await rm(this.#pathOf(hash), { force: true });
  }

  #atWork(write: () => Promise<void>): Promise<void> {
    return explained(() => this.#folders.during(write));
  }

  #pathOf(hash: BlobHash): string {
    return join(this.#folderOf(hash), hash);
  }

  #folderOf(hash: BlobHash): string {
    return join(this.#directory, hash.slice(0, 2));
  }

  /** Small ones get no name yet, and are added to `written`; large ones are not written when they are there. */
  async #writeBatch(
    batch: ReadonlyArray<HashedContent>,
    { admit, written }: { readonly admit: Admission; readonly written: WrittenBlob[] },
  ): Promise<void> {
    // Before the look: until then they may be removed by whoever finds that nothing names them.
    const large = batch.filter(isLarge);
    if (large.length > 0) await admit(large.map(({ hash }) => hash));
    await this.#inTurns(batch, async (blob) => {
      const { hash, content } = blob;
      if (isLarge(blob)) await this.#writeUnlessThere(hash, content);
      else written.push({ hash, temporary: await this.#writeBeside(hash, content) });
    });
  }

  /** Several at a time, and no more of them begun than that. Rejected with the first fault, once all are over. */
  async #inTurns<Item>(
    items: ReadonlyArray<Item>,
    action: (item: Item) => Promise<void>,
  ): Promise<void> {
    await severalAtOnce(items, LIMITS.blobWritesAtOnce, (item) =>
      this.#writes.run(() => action(item)),
    );
  }

  /** What is there and damaged is replaced: its writer is told that it can be read. */
  async #writeUnlessThere(hash: BlobHash, content: Uint8Array): Promise<void> {
    if (!(await this.#isSound(hash))) await this.#write(hash, content);
  }

  async #isSound(hash: BlobHash): Promise<boolean> {
    try {
      const opened = await this.open(hash);
      return opened !== undefined && (await openedHash(opened)) === hash;
    } catch {
      // What can't be read is written anew; a disk that can't do that says so then.
      return false;
    }
  }

  /** Puts the content in its place; that it has this hash was checked before, unless it comes in pieces. */
  async #write(hash: BlobHash, content: BlobContent): Promise<void> {
    const temporary = await this.#writeBeside(hash, content);
    try {
      await this.#name(temporary, hash);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }

  /** Writes a file under a name of its own, which is returned, and syncs it. */
  async #writeBeside(hash: BlobHash, content: BlobContent): Promise<string> {
    const folder = this.#folderOf(hash);
    const temporary = join(folder, `.${hash}.${randomUUID()}`);
    await this.#prepareOnce(folder);
    try {
      if (content instanceof Uint8Array) await writeSynced(temporary, content, 0o600);
      else requireSentHash(hash, await writePieces(temporary, content));
      return temporary;
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }

  /** The name is durable after `#syncNames`. */
  async #name(temporary: string, hash: BlobHash): Promise<void> {
    await rename(temporary, this.#pathOf(hash));
  }

  #prepareOnce(folder: string): Promise<void> {
    const prepared = this.#prepared.get(folder) ?? prepare(folder);
    this.#prepared.set(folder, prepared);
    // What failed is tried anew by the next.
    prepared.catch(() => this.#prepared.delete(folder));
    return prepared;
  }

  /**
   * A name is durable once its folder is, and a new folder once its parent is. Also for what was there before:
   * whoever wrote it may not have come as far yet.
   */
  async #syncNames(folders: ReadonlyArray<string>): Promise<void> {
    if (folders.length === 0) return;
    await this.#inTurns(folders, (folder) => this.#folders.sync(folder));
    await this.#folders.sync(this.#directory);
  }
}

/** A blob that has no name yet. */
interface WrittenBlob {
  readonly hash: BlobHash;
  readonly temporary: string;
}

async function admitAll(): Promise<void> {}

function isLarge({ content }: HashedContent): boolean {
  return content.length > LIMITS.blobRewrittenBytesMax;
}

/** Makes the folder, and removes what was being written when a process was killed: no writing takes so long. */
async function prepare(folder: string): Promise<void> {
  await mkdir(dirname(folder), { recursive: true });
  // By itself, because Node tells of a read-only disk as ENOENT when it looks for parents as well.
  await mkdir(folder).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  });
  const temporary = (await readdir(folder)).filter((name) => name.startsWith("."));
  for (const path of temporary.map((name) => join(folder, name))) {
    const { mtimeMs } = (await absentAsUndefined(stat(path))) ?? {};
    // Times of files are the system's clock, so that is what they are compared with.
    const isLeft = mtimeMs !== undefined && mtimeMs < Date.now() - LIMITS.blobWritingMs;
    if (isLeft) await rm(path, { force: true });
  }
}

/** Returns the hash of what was written. */
async function writePieces(path: string, content: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash("sha256");
  const file = await open(path, "wx", 0o600);
  try {
    for await (const piece of content) {
      hash.update(piece);
      await file.writeFile(piece);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return hash.digest("hex");
}

// What a disk says when it takes no more: full, over a quota, failing, mounted read-only after it failed, or no
// longer ours to write.
const DISK_FAULTS: ReadonlyArray<string | undefined> = [
  ...["ENOSPC", "EDQUOT", "EIO", "EROFS"],
  ...["EACCES", "EPERM"],
];

async function explained(write: () => Promise<void>): Promise<void> {
  try {
    await write();
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (!DISK_FAULTS.includes(code)) throw cause;
    throw new ControlPlaneError(
      "blobs_unavailable",
      `The control plane's disk takes no more files (${code}): try again when that is mended`,
      { cause },
    );
  }
}

async function absentAsUndefined<Value>(pending: Promise<Value>): Promise<Value | undefined> {
  try {
    return await pending;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
