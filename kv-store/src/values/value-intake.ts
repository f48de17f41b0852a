import { createHash, type Hash } from "node:crypto";
import { open, rm, type FileHandle } from "node:fs/promises";
import type { ContentHash } from "../entry.ts";
import { KvError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { checkValueSize } from "../validation.ts";
import type { ValueFile } from "./value-blobs.ts";

/** A received value: in memory when it is small, else in a file that is now the caller's. */
export type ReceivedValue =
  | { readonly kind: "inline"; readonly bytes: Buffer }
  | { readonly kind: "file"; readonly hash: ContentHash; readonly file: ValueFile };

/**
 * Reads a value of unknown size. No more than `LIMITS.inlineValueBytesMax` and a piece are ever in memory:
 * what is larger goes to a file at `path` and is hashed on the way. Fails with `value_too_large` as soon as
 * that is known, and with what the stream throws; then no file is left.
 */
export async function receiveValue(
  content: AsyncIterable<Buffer>,
  path: string,
): Promise<ReceivedValue> {
  const intake = new ValueIntake(path);
  try {
    for await (const piece of content) await intake.add(piece);
    return await intake.finish();
  } catch (error) {
    await intake.discard();
    throw error;
  }
}

class ValueIntake {
  readonly #path: string;
  /** All there is so far, until it is too much; empty from then on. */
  #pieces: Buffer[] = [];
  #sizeBytes = 0;
  #spill: { readonly file: FileHandle; readonly hash: Hash } | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  async add(piece: Buffer): Promise<void> {
    this.#sizeBytes += piece.length;
    checkValueSize(this.#sizeBytes);
    if (this.#spill === undefined && this.#sizeBytes > LIMITS.inlineValueBytesMax) {
      const file = await onDisk(() => open(this.#path, "wx"));
      this.#spill = { file, hash: createHash("sha256") };
      for (const earlier of this.#pieces.splice(0)) await this.#write(earlier);
    }
    if (this.#spill === undefined) this.#pieces.push(piece);
    else await this.#write(piece);
  }

  async finish(): Promise<ReceivedValue> {
    if (this.#spill === undefined) return { kind: "inline", bytes: Buffer.concat(this.#pieces) };
    const { file } = this.#spill;
    await onDisk(() => file.close());
    const hash = this.#spill.hash.digest("hex");
    return { kind: "file", hash, file: { path: this.#path, sizeBytes: this.#sizeBytes } };
  }

  async discard(): Promise<void> {
    if (this.#spill === undefined) return;
    await this.#spill.file.close();
    await rm(this.#path, { force: true });
  }

  async #write(piece: Buffer): Promise<void> {
    if (this.#spill === undefined) return;
    const { file, hash } = this.#spill;
    hash.update(piece);
    await onDisk(() => file.writeFile(piece));
  }
}

/** What the disk refuses is an error of this package: the caller's stream has its own. */
async function onDisk<Result>(action: () => Promise<Result>): Promise<Result> {
  try {
    return await action();
  } catch (cause) {
    const text = `this node's disk does not take the value: ${String(cause)}`;
    throw new KvError("storage_failed", text, { cause });
  }
}
