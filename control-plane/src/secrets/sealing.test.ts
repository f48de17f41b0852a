import { createCipheriv, randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { MasterKeys } from "./master-keys.ts";
import { deriveKey, masterKeyIdOf, SecretSealer } from "./sealing.ts";

const MASTER_KEY = randomBytes(32);

const sealerOf = (...keys: ReadonlyArray<Uint8Array>) => new SecretSealer(MasterKeys.of(...keys));

test("sealing: a secret opens under its key and context only", () => {
  const sealer = sealerOf(MASTER_KEY);
  const sealed = sealer.seal("hunter2 ü", "worker a, secret KEY");
  expect(sealer.open(sealed, "worker a, secret KEY")).toBe("hunter2 ü");
  expect(sealerOf(MASTER_KEY).open(sealed, "worker a, secret KEY")).toBe("hunter2 ü");
  expect(() => sealer.open(sealed, "worker b, secret KEY")).toThrow(/does not open/);
  const stranger = sealerOf(randomBytes(32));
  expect(() => stranger.open(sealed, "worker a, secret KEY")).toThrow(/master key/);
});

test("sealing: equal secrets look different, and show nothing of their text", () => {
  const sealer = sealerOf(MASTER_KEY);
  const [first, second] = [sealer.seal("hunter2", "x"), sealer.seal("hunter2", "x")];
  expect(first).not.toBe(second);
  expect(Buffer.from(first, "base64").includes("hunter2")).toBe(false);
});

test("sealing: a changed, cut or foreign text is refused", () => {
  const sealer = sealerOf(MASTER_KEY);
  const bytes = Buffer.from(sealer.seal("hunter2", "x"), "base64");
  for (const index of bytes.keys()) {
    const changed = Buffer.from(bytes);
    changed[index] = (changed[index] ?? 0) ^ 1;
    expect(() => sealer.open(changed.toString("base64"), "x")).toThrow(/does not open/);
    const cut = bytes.subarray(0, index).toString("base64");
    expect(() => sealer.open(cut, "x")).toThrow(/does not open/);
  }
});

test("sealing: each record has a key of its own, which alone is encrypted anew", () => {
  const [earlier, later] = [randomBytes(32), randomBytes(32)];
  const sealed = sealerOf(earlier).seal("hunter2", "x");
  const rotated = sealerOf(later, earlier).rewrap(sealed, "x") ?? "";
  expect(masterKeyIdOf(rotated)).toBe(MasterKeys.of(later).current.id);
  expect(sealerOf(later).open(rotated, "x")).toBe("hunter2");
  expect(() => sealerOf(earlier).open(rotated, "x")).toThrow(/does not open/);
  const recordOf = (text: string) => Buffer.from(text, "base64").subarray(1 + 8 + 12 + 16 + 32);
  expect(recordOf(rotated)).toEqual(recordOf(sealed));
  expect(sealerOf(later).rewrap(rotated, "x")).toBeUndefined();
  expect(() => sealerOf(later, earlier).rewrap(sealed, "y")).toThrow(/does not open/);
  expect(() => sealerOf(later).rewrap(sealed, "x")).toThrow(/does not open/);
});

test("sealing: what an earlier version sealed under one key opens, and gets a key of its own", () => {
  const nonce = randomBytes(12);
  const key = deriveKey(MASTER_KEY, "atoll sealed secrets v1");
  const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(Buffer.from("x"));
  const content = Buffer.concat([cipher.update("hunter2"), cipher.final()]);
  const parts = [Buffer.from([1]), nonce, cipher.getAuthTag(), content];
  const earlier = Buffer.concat(parts).toString("base64");
  const sealer = sealerOf(randomBytes(32), MASTER_KEY);
  expect(sealer.open(earlier, "x")).toBe("hunter2");
  expect(masterKeyIdOf(earlier)).toBeUndefined();
  const rewrapped = sealer.rewrap(earlier, "x") ?? "";
  expect(sealer.open(rewrapped, "x")).toBe("hunter2");
  expect(sealer.rewrap(rewrapped, "x")).toBeUndefined();
  expect(() => sealerOf(randomBytes(32)).open(earlier, "x")).toThrow(/does not open/);
});
