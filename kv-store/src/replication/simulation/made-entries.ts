import type { HeldOperation } from "../../entry.ts";
import { encodeOperation } from "../../record-codec.ts";
import { entryDigest } from "../../state-digest.ts";
import type { Random } from "./random.ts";

type Put = HeldOperation & { kind: "put" };

/** What is worked out of a put. */
interface MadeEntry {
  readonly put: Put;
  readonly bytes: Buffer;
  readonly digest: Buffer;
  /** What a partial node holds of it, once somebody has asked. */
  light?: HeldOperation;
}

// Some thousand small entries, and some hundred large ones.
const BYTES_MAX = 32 * 1024 * 1024;
const KINDS = 8;
// Up to here content is told by its bytes, as a text.
const NAMED_BYTES_MAX = 256;

/**
 * What is worked out of each put, which is the origin's, every node's and every message's in the same form: made once
 * of the same content, however often it is decoded anew. Hashes would else be a third of a simulation.
 */
class MadeEntries {
  readonly #made = new Map<string, MadeEntry>();
  #bytes = 0;
  /** Large contents that have the same byte all over, as they are written here. */
  readonly #uniform = new Map<string, Buffer>();

  of(put: Put): MadeEntry {
    const name = this.#nameOf(put);
    const known = name === undefined ? undefined : this.#made.get(name);
    if (known !== undefined || name === undefined) return known ?? made(put);
    const entry = made(put);
    if (this.#bytes > BYTES_MAX) this.#clear();
    this.#bytes += entry.bytes.length;
    this.#made.set(name, entry);
    return entry;
  }

  /**
   * Content of one of some kinds: it has the same byte all over, and is always the same memory. Nobody may change it.
   * Few kinds, because what is worked out of each is kept, and a wrong one is seen soon enough among eight.
   */
  uniform(bytes: number, random: Random): Buffer {
    const byte = random.below(KINDS);
    const name = `${bytes} ${byte}`;
    const known = this.#uniform.get(name);
    if (known !== undefined) return known;
    const content = Buffer.alloc(bytes, byte);
    this.#uniform.set(name, content);
    return content;
  }

  /** Puts of one name have the same content. */
  #nameOf({ key, value, metadata = "", expiresAt = 0 }: Put): string | undefined {
    if (value.kind !== "inline") return undefined;
    const { bytes } = value;
    const content =
      bytes.length > NAMED_BYTES_MAX
        ? this.#nameOfUniform(bytes)
        : `=${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1")}`;
    // No key here has a space; what comes last may have anything in it.
    const place = `${key} ${expiresAt} ${metadata.length} ${metadata}`;
    return content === undefined ? undefined : `${place}${content}`;
  }

  #nameOfUniform(bytes: Uint8Array): string | undefined {
    const name = `${bytes.length} ${bytes[0]}`;
    const known = this.#uniform.get(name);
    const isSame = known === bytes || known?.equals(bytes) === true;
    return isSame ? name : undefined;
  }

  #clear(): void {
    this.#made.clear();
    this.#bytes = 0;
  }
}

function made(put: Put): MadeEntry {
  const bytes = encodeOperation(put);
  const { value } = put;
  const digest = value.kind === "absent" ? Buffer.from(value.digest) : entryDigest(bytes);
  return { put, bytes, digest };
}

/** Shared by all simulations of a thread: what is made depends on nothing else. */
export const ENTRIES = new MadeEntries();
