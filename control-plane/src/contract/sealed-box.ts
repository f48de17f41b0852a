import {
  createCipheriv,
  createDecipheriv,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
} from "node:crypto";

// A box is: the sender's ephemeral X25519 key (32) | nonce (12) | tag (16) | ciphertext. The construction
// is ECIES: X25519, HKDF-SHA-256 over the shared secret salted with both public keys, AES-256-GCM.
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
// Every use of HKDF names its purpose, so that no other protocol of ours derives the same key.
const PURPOSE = "atoll sealed box v1";
// A fresh ephemeral key per box makes the AES key unique, so a constant nonce never repeats under it.
const NONCE = Buffer.alloc(NONCE_BYTES);

/** Encrypts `content` so that only the holder of `recipient`'s private half (X25519) can read it. */
export function sealBox(recipient: KeyObject, content: Uint8Array): Uint8Array<ArrayBuffer> {
  const ephemeral = generateKeyPairSync("x25519");
  const key = deriveKey({
    secret: diffieHellman({ privateKey: ephemeral.privateKey, publicKey: recipient }),
    sender: rawPublicKey(ephemeral.publicKey),
    recipient: rawPublicKey(recipient),
  });
  const cipher = createCipheriv("aes-256-gcm", key, NONCE);
  const ciphertext = Buffer.concat([cipher.update(content), cipher.final()]);
  return Buffer.concat([rawPublicKey(ephemeral.publicKey), NONCE, cipher.getAuthTag(), ciphertext]);
}

/** Opens a box made by `sealBox`. Throws when it was made for another key, cut or changed. */
export function openBox(recipient: KeyObject, box: Uint8Array): Uint8Array {
  const bytes = Buffer.from(box.buffer, box.byteOffset, box.byteLength);
  if (bytes.length < KEY_BYTES + NONCE_BYTES + TAG_BYTES) {
    throw new Error(`a sealed box of ${bytes.length} bytes is cut: its head alone is longer`);
  }
  const sender = bytes.subarray(0, KEY_BYTES);
  const nonce = bytes.subarray(KEY_BYTES, KEY_BYTES + NONCE_BYTES);
  const tag = bytes.subarray(KEY_BYTES + NONCE_BYTES, KEY_BYTES + NONCE_BYTES + TAG_BYTES);
  const key = deriveKey({
    secret: diffieHellman({ privateKey: recipient, publicKey: importPublicKey(sender) }),
    sender,
    recipient: rawPublicKey(createPublicKey(recipient)),
  });
  const decipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAuthTag(tag);
  const ciphertext = bytes.subarray(KEY_BYTES + NONCE_BYTES + TAG_BYTES);
  return Buffer.concat([decipher.update(ciphertext), decipher.final()]);
}

/** The raw 32 bytes of an X25519 public key. */
export function rawPublicKey(key: KeyObject): Buffer {
  return Buffer.from(key.export({ format: "jwk" }).x ?? "", "base64url");
}

/** An X25519 public key from its raw 32 bytes. Throws when they are not a key. */
export function importPublicKey(raw: Uint8Array): KeyObject {
  const x = Buffer.from(raw).toString("base64url");
  return createPublicKey({ key: { kty: "OKP", crv: "X25519", x }, format: "jwk" });
}

function deriveKey(parts: {
  readonly secret: Buffer;
  readonly sender: Uint8Array;
  readonly recipient: Uint8Array;
}): Buffer {
  const salt = Buffer.concat([parts.sender, parts.recipient]);
  return Buffer.from(hkdfSync("sha256", parts.secret, salt, PURPOSE, 32));
}
