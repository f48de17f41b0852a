import { closeSync, createReadStream, fstatSync, open, read } from "node:fs";
import { Readable } from "node:stream";
import { promisify } from "node:util";
import { LIMITS } from "../limits.ts";
import type { OpenBlob } from "./blob-store.ts";

const openFile = promisify(open);
const readFile = promisify(read);

/** A blob's file, as `BlobStore.open` says. Rejected with `ENOENT` when there is none. */
export async function openBlobFile(path: string): Promise<OpenBlob> {
  const descriptor = await openFile(path, "r");
  // What the kernel says of an open file, and the end of reading one, take it a microsecond. To have another thread
  // wait for that would be half of what a small file takes, and a stream with its promises most of it.
  let isOurs = true;
  try {
    const { size } = fstatSync(descriptor);
    if (size > LIMITS.blobWholeBytesMax) {
      isOurs = false;
      return streamOf(descriptor, size);
    }
    const content = new Uint8Array(size);
    // Less where it was cut behind our backs: its reader finds that it has another hash.
    await readFile(descriptor, content, 0, size, 0);
    return { sizeBytes: size, content };
  } finally {
    if (isOurs) closeSync(descriptor);
  }
}

/** Closes the file at its end, also when it is cancelled. */
function streamOf(descriptor: number, sizeBytes: number): OpenBlob {
  const content = Readable.toWeb(createReadStream("", { fd: descriptor }));
  return { sizeBytes, content: content as ReadableStream<Uint8Array> }; // no encoding is set
}
