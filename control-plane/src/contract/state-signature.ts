import { createPrivateKey, createPublicKey, generateKeyPairSync, sign, verify } from "node:crypto";

/** A new Ed25519 key of a fleet, as PKCS#8 PEM: the control planes keep it, nodes know its public half. */
export function generateFleetKey(): string {
  const pair = generateKeyPairSync("ed25519");
  return pair.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
}

/** The public half, as SPKI PEM, that a node is told when it enrols. */
export function publicFleetKey(privateKeyPem: string): string {
  return createPublicKey(privateKeyPem).export({ type: "spki", format: "pem" }).toString();
}

export function signState(privateKeyPem: string, body: Uint8Array): Uint8Array {
  return sign(null, body, createPrivateKey(privateKeyPem));
}

/** Whether the fleet's key signed exactly these bytes. */
export function isSignedState(
  publicKeyPem: string,
  signed: { readonly body: Uint8Array; readonly signature: Uint8Array },
): boolean {
  return verify(null, signed.body, createPublicKey(publicKeyPem), signed.signature);
}
