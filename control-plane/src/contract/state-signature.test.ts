import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { fleetKeyFromSeed, isSignedState, publicFleetKey, signState } from "./state-signature.ts";

test("state signature: holds for the signed bytes and the fleet's key, and for nothing else", () => {
  const fleetKey = fleetKeyFromSeed(randomBytes(32));
  const body = Buffer.from("desired state");
  const signature = signState(fleetKey, body);
  const known = publicFleetKey(fleetKey);
  expect(isSignedState(known, { body, signature })).toBe(true);
  expect(isSignedState(known, { body: Buffer.from("desired stale"), signature })).toBe(false);
  const stranger = publicFleetKey(fleetKeyFromSeed(randomBytes(32)));
  expect(isSignedState(stranger, { body, signature })).toBe(false);
  expect(isSignedState(known, { body, signature: new Uint8Array(3) })).toBe(false);
});
