import { generateKeyPairSync } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { importPublicKey, openBox, rawPublicKey, sealBox } from "./sealed-box.ts";

describe("sealed box", () => {
  const recipient = generateKeyPairSync("x25519");

  test("opens to what was sealed, with a public key that travelled as raw bytes", () => {
    const travelled = importPublicKey(rawPublicKey(recipient.publicKey));
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (content) => {
        const opened = openBox(recipient.privateKey, sealBox(travelled, content));
        expect(Buffer.from(opened)).toEqual(Buffer.from(content));
      }),
    );
  });

  test("opens for nobody else", () => {
    const other = generateKeyPairSync("x25519");
    const box = sealBox(recipient.publicKey, Buffer.from("secret"));
    expect(() => openBox(other.privateKey, box)).toThrow();
  });

  test("refuses a box with any byte changed or cut", () => {
    const box = sealBox(recipient.publicKey, Buffer.from("secret"));
    for (let index = 0; index < box.length; index += 1) {
      const changed = Uint8Array.from(box);
      changed[index] = (changed[index] ?? 0) ^ 1;
      // The top bit of an X25519 key is ignored by the curve, but the key is also part of the salt.
      expect(() => openBox(recipient.privateKey, changed)).toThrow();
      expect(() => openBox(recipient.privateKey, box.subarray(0, index))).toThrow();
    }
  });

  test("never seals the same content to the same bytes", () => {
    const content = Buffer.from("secret");
    expect(sealBox(recipient.publicKey, content)).not.toEqual(
      sealBox(recipient.publicKey, content),
    );
  });
});
