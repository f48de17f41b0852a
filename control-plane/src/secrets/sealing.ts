import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";
import { ControlPlaneError } from "../errors.ts";

// Sealed text is base64 of: format (1) | nonce (12) | tag (16) | ciphertext.
const FORMAT = 1;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const HEAD_BYTES = 1 + NONCE_BYTES + TAG_BYTES;

/**
 * Encrypts secrets for the database with AES-256-GCM. Each is bound to its `context`, such as the worker
 * and the name it belongs to: copied to another place it does not open there.
 */
export class SecretSealer {
  readonly #key: Buffer;

  /** `masterKey` is 32 bytes; the key that seals is derived from it, so others can be as well. */
  constructor(masterKey: Uint8Array) {
    this.#key = deriveKey(masterKey, "atoll sealed secrets v1");
  }

  seal(plaintext: string, context: string): string {
    // Random nonces are safe under one key for 2^32 secrets.
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv("aes-256-gcm", this.#key, nonce).setAAD(Buffer.from(context));
    const ciphertext = Buffer.concat([cipher.update(plaintext, "utf8"), cipher.final()]);
    const parts = [Buffer.from([FORMAT]), nonce, cipher.getAuthTag(), ciphertext];
    return Buffer.concat(parts).toString("base64");
  }

  /** Throws `secret_unreadable` when it was sealed under another key or context, or changed. */
  open(sealed: string, context: string): string {
    const bytes = Buffer.from(sealed, "base64");
    try {
      if (bytes[0] !== FORMAT) throw new Error(`unknown format ${bytes[0]}`);
      const nonce = bytes.subarray(1, 1 + NONCE_BYTES);
      const decipher = createDecipheriv("aes-256-gcm", this.#key, nonce, {
        authTagLength: TAG_BYTES,
      });
      decipher.setAAD(Buffer.from(context));
      decipher.setAuthTag(bytes.subarray(1 + NONCE_BYTES, HEAD_BYTES));
      const plaintext = [decipher.update(bytes.subarray(HEAD_BYTES)), decipher.final()];
      return Buffer.concat(plaintext).toString("utf8");
    } catch (cause) {
      throw new ControlPlaneError(
        "secret_unreadable",
        `The sealed secret of ${context} does not open: is the master key the one it was sealed with?`,
        { cause },
      );
    }
  }
}

/** A key for one purpose: keys of different purposes tell nothing of each other. */
export function deriveKey(masterKey: Uint8Array, purpose: string): Buffer {
  return Buffer.from(hkdfSync("sha256", masterKey, new Uint8Array(), purpose, 32));
}
