import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { SecretSealer } from "./sealing.ts";

const MASTER_KEY = randomBytes(32);

test("sealing: a secret opens under its key and context only", () => {
  const sealer = new SecretSealer(MASTER_KEY);
  const sealed = sealer.seal("hunter2 ü", "worker a, secret KEY");
  expect(sealer.open(sealed, "worker a, secret KEY")).toBe("hunter2 ü");
  expect(new SecretSealer(MASTER_KEY).open(sealed, "worker a, secret KEY")).toBe("hunter2 ü");
  expect(() => sealer.open(sealed, "worker b, secret KEY")).toThrow(/does not open/);
  const stranger = new SecretSealer(randomBytes(32));
  expect(() => stranger.open(sealed, "worker a, secret KEY")).toThrow(/master key/);
});

test("sealing: equal secrets look different, and show nothing of their text", () => {
  const sealer = new SecretSealer(MASTER_KEY);
  const [first, second] = [sealer.seal("hunter2", "x"), sealer.seal("hunter2", "x")];
  expect(first).not.toBe(second);
  expect(Buffer.from(first, "base64").includes("hunter2")).toBe(false);
});

test("sealing: a changed, cut or foreign text is refused", () => {
  const sealer = new SecretSealer(MASTER_KEY);
  const bytes = Buffer.from(sealer.seal("hunter2", "x"), "base64");
  for (const index of bytes.keys()) {
    const changed = Buffer.from(bytes);
    changed[index] = (changed[index] ?? 0) ^ 1;
    expect(() => sealer.open(changed.toString("base64"), "x")).toThrow(/does not open/);
    const cut = bytes.subarray(0, index).toString("base64");
    expect(() => sealer.open(cut, "x")).toThrow(/does not open/);
  }
});
