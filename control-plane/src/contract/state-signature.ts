import { createPrivateKey, createPublicKey, sign, verify } from "node:crypto";

// What precedes the 32 bytes of an Ed25519 seed in PKCS#8, RFC 8410.
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");

/**
 * The fleet's Ed25519 private key, as PKCS#8 PEM, from 32 secret bytes. The control planes keep these
 * sealed in their database, so all of them sign as one; nodes know only the public half.
 */
export function fleetKeyFromSeed(seed: Uint8Array): string {
  const key = Buffer.concat([PKCS8_PREFIX, seed]);
  const privateKey = createPrivateKey({ key, format: "der", type: "pkcs8" });
  return privateKey.export({ type: "pkcs8", format: "pem" }).toString();
}

/** The public half, as SPKI PEM, that a node is told when it enrols. */
export function publicFleetKey(privateKeyPem: string): string {
  return createPublicKey(privateKeyPem).export({ type: "spki", format: "pem" }).toString();
}

export function signState(privateKeyPem: string, body: Uint8Array): Uint8Array<ArrayBuffer> {
  return sign(null, body, createPrivateKey(privateKeyPem));
}

/** The same beside all else: hashing some MB takes long. */
export async function signLargeState(
  privateKeyPem: string,
  body: Uint8Array,
): Promise<Uint8Array<ArrayBuffer>> {
  const key = createPrivateKey(privateKeyPem);
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array<ArrayBuffer>>();
  sign(null, body, key, (error, signature) => (error ? reject(error) : resolve(signature)));
  return promise;
}

/** Whether the fleet's key signed exactly these bytes. */
export function isSignedState(
  publicKeyPem: string,
  signed: { readonly body: Uint8Array; readonly signature: Uint8Array },
): boolean {
  return verify(null, signed.body, createPublicKey(publicKeyPem), signed.signature);
}
