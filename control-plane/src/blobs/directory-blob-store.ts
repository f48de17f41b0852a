import { createHash, randomUUID } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { Slots } from "@atoll/kv-store";
import { sync } from "../durable-path.ts";
import type { BlobHash } from "../contract/index.ts";
import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { blobHashOf, requireSentHash, requireStoredHash } from "./blob-hash.ts";
import type { BlobContent, BlobStore, OpenBlob } from "./blob-store.ts";

/**
 * Blobs as files `<first two digits>/<hash>` of one directory: 256 folders keep each of them small.
 * A blob appears whole or not at all, because it is written beside its place, synced and renamed.
 */
export class DirectoryBlobStore implements BlobStore {
  readonly #directory: string;
  readonly #writes = new Slots(LIMITS.blobWritesAtOnce);
  /** Folders that are there, and rid of what a crash left in them. */
  readonly #prepared = new Map<string, Promise<void>>();

  /** The directory is made when the first blob is stored. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  async put(hash: BlobHash, content: BlobContent): Promise<void> {
    if (content instanceof Uint8Array) return this.putAll(new Map([[hash, content]]));
    await explained(async () => {
      await this.#write(hash, content);
      await this.#syncNames([hash]);
    });
  }

  async putAll(contents: ReadonlyMap<BlobHash, Uint8Array>): Promise<void> {
    for (const [hash, content] of contents) requireSentHash(hash, blobHashOf(content));
    await explained(async () => {
      const writes = [...contents].map(([hash, content]) =>
        this.#writes.run(async () => {
          if (!(await this.has(hash))) await this.#write(hash, content);
        }),
      );
      const failed = (await Promise.allSettled(writes)).find(({ status }) => status === "rejected");
      if (failed?.status === "rejected") throw failed.reason;
      // Of those that were there as well: whoever wrote them may not have come as far yet.
      await this.#syncNames([...contents.keys()]);
    });
  }

  async open(hash: BlobHash): Promise<OpenBlob | undefined> {
    const file = await absentAsUndefined(open(this.#pathOf(hash)));
    if (file === undefined) return undefined;
    try {
      const { size } = await file.stat();
      // Closes the file, also when it is cancelled.
      const content = Readable.toWeb(file.createReadStream());
      return { sizeBytes: size, content: content as ReadableStream<Uint8Array> }; // no encoding is set
    } catch (error) {
      await file.close();
      throw error;
    }
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

  #pathOf(hash: BlobHash): string {
    return join(this.#folderOf(hash), hash);
  }

  #folderOf(hash: BlobHash): string {
    return join(this.#directory, hash.slice(0, 2));
  }

  /**
   * Puts the content in its place; that it has this hash was checked before, unless it comes in pieces. Only the
   * file is synced: its name is durable after `#syncNames`.
   */
  async #write(hash: BlobHash, content: BlobContent): Promise<void> {
    const folder = this.#folderOf(hash);
    const temporary = join(folder, `.${hash}.${randomUUID()}`);
    await this.#prepareOnce(folder);
    try {
      if (content instanceof Uint8Array) await writeWhole(temporary, content);
      else requireSentHash(hash, await writePieces(temporary, content));
      await rename(temporary, this.#pathOf(hash));
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }

  #prepareOnce(folder: string): Promise<void> {
    const prepared = this.#prepared.get(folder) ?? prepare(folder);
    this.#prepared.set(folder, prepared);
    // What failed is tried anew by the next.
    prepared.catch(() => this.#prepared.delete(folder));
    return prepared;
  }

  /** A name is durable once its folder is, and a new folder once its parent is. */
  async #syncNames(hashes: ReadonlyArray<BlobHash>): Promise<void> {
    if (hashes.length === 0) return;
    const folders = new Set(hashes.map((hash) => this.#folderOf(hash)));
    await Promise.all([...folders].map((folder) => this.#writes.run(() => sync(folder))));
    await sync(this.#directory);
  }
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

async function writeWhole(path: string, content: Uint8Array): Promise<void> {
  await writeFile(path, content, { flag: "wx", mode: 0o600, flush: true });
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
