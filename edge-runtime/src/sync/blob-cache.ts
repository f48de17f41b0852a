import assert from "node:assert/strict";
import { hash as hashOf } from "node:crypto";
import type { BlobHash, BlobRecord } from "@atoll/control-plane/contract";
import { Slots } from "@atoll/kv-store";
import type { Logger } from "pino";
import { EdgeError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { BlobFiles, type BlobFile, type NamedBlob } from "./blob-files.ts";

/** Fetches blobs from the control plane, in any order. Throws when it breaks off. */
export type FetchBlobs = (hashes: ReadonlyArray<BlobHash>) => AsyncIterable<BlobRecord>;

/**
 * The node's own copies of the blobs that its workers name: files called by their SHA-256. A blob that
 * is here stays readable without the control plane. Content is checked against its hash when it
 * arrives and when it is read, and what a disk has damaged is fetched again; sites are hard-linked from the plain files.
 */
export class BlobCache {
  readonly #files: BlobFiles;
  readonly #fetchBlobs: FetchBlobs;
  readonly #log: Logger;
  /** One call after the other: what several ask for is fetched once, and nothing of it is removed meanwhile. */
  readonly #turns = new Slots(1);

  constructor(options: {
    readonly directory: string;
    readonly fetchBlobs: FetchBlobs;
    readonly log: Logger;
  }) {
    this.#files = new BlobFiles(options.directory);
    this.#fetchBlobs = options.fetchBlobs;
    this.#log = options.log;
  }

  /** Where the blob is or will be. */
  path(hash: BlobHash): string {
    return this.#files.path(hash);
  }

  /**
   * Resolves when all of them are on this node's disk. Rejected with `blob_unavailable` when one can't be had; all that
   * could are there nevertheless.
   */
  async ensure(blobs: Iterable<NamedBlob>): Promise<void> {
    const wanted = [...blobs];
    await this.#turns.run(async () => {
      try {
        const missing = await this.#files.missing(wanted);
        if (missing.length > 0) await this.#fetch(missing);
      } finally {
        await this.#files.sync(wanted.map(({ blob }) => blob));
      }
    });
  }

  /** Content of a blob, fetched first when it is not here, or damaged. Rejected as `ensure` is. */
  async read(hash: BlobHash): Promise<Uint8Array> {
    const content = await this.find(hash);
    if (content !== undefined) return content;
    await this.ensure([{ blob: hash }]);
    const fetched = await this.#files.read(hash);
    assert(fetched !== undefined, "what was ensured is there");
    return fetched;
  }

  /** Content of a blob that is here; `undefined` when there is none. One that the disk has damaged is there no more then. */
  async find(hash: BlobHash): Promise<Uint8Array | undefined> {
    const content = await this.#files.read(hash);
    if (content === undefined || hashOf("sha256", content, "hex") === hash) return content;
    this.#log.warn({ blob: hash }, "a blob was damaged on this disk, and is fetched again");
    await this.#turns.run(() => this.#files.remove(hash));
    return undefined;
  }

  /** Removes every blob that is not in `keep`. Resolves with how many were removed. */
  prune(keep: ReadonlySet<string>): Promise<number> {
    return this.#turns.run(() => this.#files.prune(keep));
  }

  async #fetch(hashes: ReadonlyArray<BlobHash>): Promise<void> {
    const faults: EdgeError[] = [];
    const sound = verified(this.#fetchBlobs(hashes), { hashes, faults });
    for await (const group of groupsOf(sound)) await this.#files.write(group);
    const [first] = faults;
    if (first !== undefined) throw first;
  }
}

/** What arrives as its hash says, as long as anything does. What is amiss with the others goes to `faults`. */
async function* verified(
  records: AsyncIterable<BlobRecord>,
  { hashes, faults }: { readonly hashes: Iterable<BlobHash>; readonly faults: EdgeError[] },
): AsyncGenerator<BlobFile> {
  const left = new Set(hashes);
  let cause: unknown;
  try {
    for await (const { hash, content } of records) {
      // Each is written once, whatever comes.
      if (!left.delete(hash)) continue;
      const actual = content && hashOf("sha256", content, "hex");
      if (content !== undefined && actual === hash) yield { hash, content };
      else faults.push(unavailable(`blob ${hash} ${describeFault(actual)}`));
    }
  } catch (error) {
    cause = error;
  }
  const [first] = left;
  if (first === undefined) return;
  const others = left.size === 1 ? "" : ` and ${left.size - 1} others`;
  faults.push(unavailable(`blob ${first}${others} could not be fetched`, cause));
}

function describeFault(actual: string | undefined): string {
  if (actual === undefined) return "is not at the control plane";
  return `arrived as ${actual}: damaged on its way`;
}

function unavailable(message: string, cause?: unknown): EdgeError {
  return new EdgeError("blob_unavailable", message, { cause });
}

/** As many together as may be in memory. */
async function* groupsOf(blobs: AsyncIterable<BlobFile>): AsyncGenerator<ReadonlyArray<BlobFile>> {
  let group: BlobFile[] = [];
  let bytes = 0;
  for await (const blob of blobs) {
    group.push(blob);
    bytes += blob.content.length;
    if (group.length < LIMITS.blobGroupCount && bytes < LIMITS.blobGroupBytes) continue;
    yield group;
    [group, bytes] = [[], 0];
  }
  if (group.length > 0) yield group;
}
