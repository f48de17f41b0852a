import { expect, test } from "vitest";
import { credentialId, isCredential, mintCredential } from "./credential.ts";

test("credential: recognised by its text alone, which is not stored", () => {
  const minted = mintCredential("atoll");
  const stored = { id: minted.id, hash: minted.hash };
  expect(credentialId("atoll", minted.text)).toBe(minted.id);
  expect(isCredential(minted.text, stored)).toBe(true);
  expect(JSON.stringify(stored)).not.toContain(minted.text);
  expect(isCredential(mintCredential("atoll").text, stored)).toBe(false);
});

test("credential: another kind, a cut one and garbage have no id", () => {
  const { text } = mintCredential("atoll-node");
  for (const wrong of [text, text.slice(0, -1), `${text}a`, "", "atoll_x_y", "_".repeat(80)]) {
    expect(credentialId("atoll", wrong)).toBeUndefined();
  }
});
