import { hash } from "node:crypto";
import { StateDigest } from "./names.ts";

// 128 bits: two states that differ by accident have the same digest never, and it is half as long to store.
export const ENTRY_DIGEST_BYTES = 16;

/** Digest of one entry, given as the operation that puts it: of its key and of all that the key holds. */
export function entryDigest(put: Uint8Array): Buffer {
  return hash("sha256", put, "buffer").subarray(0, ENTRY_DIGEST_BYTES);
}

/**
 * The digest of a set of entries, kept up while entries come and go: the digests of all of them, XORed. It
 * needs no order and no second look at what did not change, so whoever holds the same entries, however they
 * came, has the same digest. A key is in a state once, so nothing cancels itself out. Not a signature:
 * whoever chooses all entries of a namespace can make two states collide, and fools nobody but himself.
 */
export class StateSum {
  readonly #bytes: Buffer;

  constructor(start: StateDigest = EMPTY_STATE) {
    this.#bytes = Buffer.from(start, "hex");
  }

  /** Adds an entry that is not there, or removes one that is. Its digest is what the bytes begin with. */
  toggle(digest: Uint8Array): void {
    for (let index = 0; index < ENTRY_DIGEST_BYTES; index += 1) {
      this.#bytes[index] = (this.#bytes[index] ?? 0) ^ (digest[index] ?? 0);
    }
  }

  get digest(): StateDigest {
    return this.#bytes.toString("hex") as StateDigest; // of this length it is one
  }
}

/** The digest of a namespace without entries. */
export const EMPTY_STATE = StateDigest.parse("00".repeat(ENTRY_DIGEST_BYTES));
