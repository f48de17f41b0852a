import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { TestClock } from "../test-support/test-clock.ts";
import { PeerCredentials } from "./peer-credentials.ts";

const clock = new TestClock();
const fleetSeed = new Uint8Array(32).fill(7);
const [ours, theirs] = [randomUUID(), randomUUID()];
const own = new PeerCredentials({ fleetSeed, id: ours, clock });
const other = new PeerCredentials({ fleetSeed, id: theirs, clock });

test("credentials of control planes: one says who shows it, for as long as it holds", () => {
  const credential = own.issue(theirs);
  expect(other.verify(credential)).toBe(ours);
  clock.advanceMs(LIMITS.peerCredentialMs - 1);
  expect(other.verify(credential)).toBe(ours);
  clock.advanceMs(1);
  expect(other.verify(credential)).toBeUndefined();
});

test.each([
  ["for another one", (text: string) => text, randomUUID()],
  ["with another name", (text: string) => text.replace(ours, randomUUID()), theirs],
  ["that holds longer", (text: string) => text.replace(/\.(\d+)\./, ".9$1."), theirs],
  ["cut off", (text: string) => text.slice(0, -1), theirs],
  ["without a signature", (text: string) => text.replace(/\.[\w-]+$/, "."), theirs],
  ["that is nothing", () => "", theirs],
])("credentials of control planes: one %s is none", (_what, change, to) => {
  expect(other.verify(change(own.issue(to)))).toBeUndefined();
});

test("credentials of control planes: one of another installation is none", () => {
  const foreign = new PeerCredentials({ fleetSeed: new Uint8Array(32), id: ours, clock });
  expect(other.verify(foreign.issue(theirs))).toBeUndefined();
});
