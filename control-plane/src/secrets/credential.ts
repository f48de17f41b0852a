import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

// 32 random bytes cannot be guessed, so a plain hash protects what is stored: no slow one is needed.
const SECRET_BYTES = 32;
const ID_BYTES = 8;

/** What is kept of a credential: enough to recognise it, not enough to use it. */
export interface StoredCredential {
  /** Public part, by which the row is found. */
  readonly id: string;
  /** SHA-256 of the whole credential, hexadecimal. */
  readonly hash: string;
}

export interface MintedCredential extends StoredCredential {
  /** The credential itself, such as `atoll_5c1f…_Zm9v…`: shown once. */
  readonly text: string;
}

/** Makes a credential. `kind` begins its text, so that people and secret scanners know what it is. */
export function mintCredential(kind: string): MintedCredential {
  const id = randomBytes(ID_BYTES).toString("hex");
  const text = `${kind}_${id}_${randomBytes(SECRET_BYTES).toString("base64url")}`;
  return { id, text, hash: hashOf(text) };
}

/** The public part of a presented credential; `undefined` when it is not of this kind. */
export function credentialId(kind: string, text: string): string | undefined {
  const match = /^([a-z-]+)_([0-9a-f]{16})_[A-Za-z0-9_-]{43}$/.exec(text);
  return match?.[1] === kind ? match[2] : undefined;
}

/** Whether the presented text is the stored credential; takes the same time either way. */
export function isCredential(text: string, stored: StoredCredential): boolean {
  return timingSafeEqual(Buffer.from(hashOf(text), "hex"), Buffer.from(stored.hash, "hex"));
}

function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
