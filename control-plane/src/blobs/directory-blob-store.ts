import { createHash, randomUUID } from "node:crypto";
import { mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import type { BlobHash } from "../contract/index.ts";
import { ControlPlaneError } from "../errors.ts";
import type { BlobContent, BlobStore, OpenBlob } from "./blob-store.ts";

/**
 * Blobs as files `<first two digits>/<hash>` of one directory: 256 folders keep each of them small.
 * A blob appears whole or not at all, because it is written beside its place, synced and renamed.
 */
export class DirectoryBlobStore implements BlobStore {
  readonly #directory: string;

  /** The directory is made when the first blob is stored. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  async put(hash: BlobHash, content: BlobContent): Promise<void> {
    const isWhole = content instanceof Uint8Array;
    if (isWhole) requireHash(hash, sha256(content));
    // Pieces are taken in any case: their sender waits until they are.
    if (isWhole && (await this.has(hash))) return;
    const folder = this.#folder(hash);
    const temporary = join(folder, `.${hash}.${randomUUID()}`);
    await mkdir(folder, { recursive: true });
    try {
      requireHash(hash, await writeSynced(temporary, content));
      await rename(temporary, join(folder, hash));
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
    // The name is durable only once its folder is, and a new folder only once its parent is.
    await syncDirectory(folder);
    await syncDirectory(this.#directory);
  }

  async open(hash: BlobHash): Promise<OpenBlob | undefined> {
    const file = await absentAsUndefined(open(join(this.#folder(hash), hash)));
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
    const content = await absentAsUndefined(readFile(join(this.#folder(hash), hash)));
    if (content === undefined) return undefined;
    const actual = sha256(content);
    if (actual !== hash) {
      throw new ControlPlaneError("blob_corrupt", `Stored blob ${hash} now hashes to ${actual}`);
    }
    return content;
  }

  async has(hash: BlobHash): Promise<boolean> {
    return (await absentAsUndefined(stat(join(this.#folder(hash), hash)))) !== undefined;
  }

  async remove(hash: BlobHash): Promise<void> {
    await rm(join(this.#folder(hash), hash), { force: true });
  }

  #folder(hash: BlobHash): string {
    return join(this.#directory, hash.slice(0, 2));
  }
}

/** The address of content. */
export function blobHashOf(content: Uint8Array): BlobHash {
  // A SHA-256 in hexadecimal is what the brand stands for.
  return sha256(content) as BlobHash;
}

function sha256(content: Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

function requireHash(hash: BlobHash, actual: string): void {
  if (actual === hash) return;
  throw new ControlPlaneError("blob_mismatch", `Content sent as ${hash} hashes to ${actual}`);
}

/** Returns the hash of what was written. */
async function writeSynced(path: string, content: BlobContent): Promise<string> {
  const hash = createHash("sha256");
  const file = await open(path, "wx", 0o600);
  try {
    for await (const piece of content instanceof Uint8Array ? [content] : content) {
      hash.update(piece);
      await file.writeFile(piece);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return hash.digest("hex");
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
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
