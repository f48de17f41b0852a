import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";
import { ControlPlaneError } from "../errors.ts";
import { KEY_ID_BYTES, type MasterKey, type MasterKeys } from "./master-keys.ts";

const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const KEY_BYTES = 32;
const BOX_HEAD_BYTES = NONCE_BYTES + TAG_BYTES;
const WRAPPED_BYTES = BOX_HEAD_BYTES + KEY_BYTES;
const HEAD_BYTES = 1 + KEY_ID_BYTES + WRAPPED_BYTES;

// Sealed text is base64 of: format (1) | id of the master key (8) | box of the record's key | box of the record.
// A box is: nonce (12) | tag (16) | ciphertext.
const FORMAT = 2;
// Before there were keys of records: format (1) | box of the record under a key of the master key's.
const FORMAT_OF_ONE_KEY = 1;

/**
 * Encrypts secrets for the database with AES-256-GCM, each under a key of its own that only the master key
 * opens. Each is bound to its `context`, such as the worker and the name it belongs to: copied to another
 * place it does not open there. See SEALING.md.
 */
export class SecretSealer {
  readonly #keys: MasterKeys;

  constructor(keys: MasterKeys) {
    this.#keys = keys;
  }

  seal(plaintext: string, context: string): string {
    const key = randomBytes(KEY_BYTES);
    return this.#join(key, context, encrypt(key, Buffer.from(plaintext), context));
  }

  /** Throws `secret_unreadable` when it was sealed under another master key or context, or changed. */
  open(sealed: string, context: string): string {
    return this.#reading(context, () => {
      const bytes = Buffer.from(sealed, "base64");
      if (bytes[0] === FORMAT_OF_ONE_KEY) return this.#openOfOneKey(bytes, context).toString();
      const { key, box } = this.#take(bytes, context);
      return decrypt(key, box, context).toString();
    });
  }

  /**
   * The same under the current master key; `undefined` when it is under that already. Throws
   * `secret_unreadable` as `open` does.
   */
  rewrap(sealed: string, context: string): string | undefined {
    return this.#reading(context, () => {
      const bytes = Buffer.from(sealed, "base64");
      if (bytes[0] === FORMAT_OF_ONE_KEY) {
        return this.seal(this.#openOfOneKey(bytes, context).toString(), context);
      }
      if (masterKeyIdOf(sealed) === this.#keys.current.id) return undefined;
      const { key, box } = this.#take(bytes, context);
      return this.#join(key, context, box);
    });
  }

  #join(key: Buffer, context: string, box: Buffer): string {
    const master = this.#keys.current;
    const id = Buffer.from(master.id, "hex");
    const wrapped = encrypt(wrappingKey(master), key, wrapContext(context));
    return Buffer.concat([Buffer.from([FORMAT]), id, wrapped, box]).toString("base64");
  }

  /** The record's key and its box. */
  #take(bytes: Buffer, context: string): { readonly key: Buffer; readonly box: Buffer } {
    if (bytes[0] !== FORMAT) throw new Error(`unknown format ${bytes[0]}`);
    const id = bytes.toString("hex", 1, 1 + KEY_ID_BYTES);
    const master = this.#keys.find(id);
    if (master === undefined) throw new Error(`there is no master key ${id}`);
    const wrapped = bytes.subarray(1 + KEY_ID_BYTES, HEAD_BYTES);
    const key = decrypt(wrappingKey(master), wrapped, wrapContext(context));
    return { key, box: bytes.subarray(HEAD_BYTES) };
  }

  #openOfOneKey(bytes: Buffer, context: string): Buffer {
    let failure: unknown;
    for (const master of this.#keys.all) {
      try {
        return decrypt(
          deriveKey(master.bytes, "atoll sealed secrets v1"),
          bytes.subarray(1),
          context,
        );
      } catch (error) {
        // It does not say which key it is under, so each is tried.
        failure = error;
      }
    }
    throw failure;
  }

  #reading<Result>(context: string, read: () => Result): Result {
    try {
      return read();
    } catch (cause) {
      throw new ControlPlaneError(
        "secret_unreadable",
        `The sealed ${context} does not open: is the master key the one it was sealed with?`,
        { cause },
      );
    }
  }
}

/** The id of the master key that a sealed text needs; `undefined` when it does not say. */
export function masterKeyIdOf(sealed: string): string | undefined {
  const bytes = Buffer.from(sealed, "base64");
  return bytes[0] === FORMAT ? bytes.toString("hex", 1, 1 + KEY_ID_BYTES) : undefined;
}

/** A key for one purpose: keys of different purposes tell nothing of each other. */
export function deriveKey(masterKey: Uint8Array, purpose: string): Buffer {
  return Buffer.from(hkdfSync("sha256", masterKey, new Uint8Array(), purpose, KEY_BYTES));
}

function wrappingKey(master: MasterKey): Buffer {
  return deriveKey(master.bytes, "atoll keys of records v2");
}

/** So that a record's key can't be taken for a record. */
function wrapContext(context: string): string {
  return `key of ${context}`;
}

function encrypt(key: Uint8Array, plaintext: Uint8Array, context: string): Buffer {
  // Random nonces are safe under one key for 2^32 records.
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(Buffer.from(context));
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), ciphertext]);
}

function decrypt(key: Uint8Array, box: Buffer, context: string): Buffer {
  const nonce = box.subarray(0, NONCE_BYTES);
  const decipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(Buffer.from(context));
  decipher.setAuthTag(box.subarray(NONCE_BYTES, BOX_HEAD_BYTES));
  return Buffer.concat([decipher.update(box.subarray(BOX_HEAD_BYTES)), decipher.final()]);
}
