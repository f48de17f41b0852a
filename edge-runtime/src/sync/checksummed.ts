import { createHash } from "node:crypto";

const CHECKSUM_BYTES = 32;

/** Content as it goes to disk: its SHA-256, then itself. */
export function withChecksum(content: Uint8Array): Uint8Array {
  return Buffer.concat([checksum(content), content]);
}

/** The content again. Throws when it is not what was written. */
export function checkedContent(bytes: Uint8Array): Uint8Array {
  const content = bytes.subarray(CHECKSUM_BYTES);
  if (!checksum(content).equals(bytes.subarray(0, CHECKSUM_BYTES))) {
    throw new Error(`the checksum of ${bytes.length} bytes does not match`);
  }
  return content;
}

function checksum(content: Uint8Array): Buffer {
  return createHash("sha256").update(content).digest();
}
