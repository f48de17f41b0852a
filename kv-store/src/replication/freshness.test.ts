import { expect, test } from "vitest";
import { Revision } from "../names.ts";
import { Freshness } from "./freshness.ts";

const revision = (number: number): Revision => Revision.parse(number);

/** Has heard of one revision after another, half a second between, and holds nothing of it. */
function behind(freshness: Freshness, { from, count }: { from: number; count: number }): void {
  for (let index = 0; index < count; index += 1) {
    freshness.heard({ revision: revision(from + index), echoMs: 500 * index }, null);
  }
}

test("Freshness: a replica is as fresh as the latest position that it has reached", () => {
  const freshness = new Freshness();
  behind(freshness, { from: 1, count: 10 });
  expect(freshness.freshMs).toBe(null);
  freshness.reached(revision(4));
  expect(freshness.freshMs).toBe(1_500);
  freshness.reached(revision(10));
  expect(freshness.freshMs).toBe(4_500);
});

test("Freshness: is known although much was heard of a longer history that the origin has lost since", () => {
  const freshness = new Freshness();
  behind(freshness, { from: 101, count: 200 });
  freshness.heard({ revision: revision(26), echoMs: 100_500 }, null);
  expect(freshness.freshMs).toBe(null);
  freshness.reached(revision(26));
  expect(freshness.freshMs).toBe(100_500);
  freshness.heard({ revision: revision(26), echoMs: 101_000 }, revision(26));
  expect(freshness.freshMs).toBe(101_000);
});

test("Freshness: of many heartbeats with one revision the latest counts when it is reached", () => {
  const freshness = new Freshness();
  for (let index = 0; index < 200; index += 1) {
    freshness.heard({ revision: revision(7), echoMs: 500 * index }, revision(6));
  }
  freshness.reached(revision(7));
  expect(freshness.freshMs).toBe(99_500);
});

test("Freshness: a heartbeat that comes late takes nothing back", () => {
  const freshness = new Freshness();
  freshness.heard({ revision: revision(5), echoMs: 1_000 }, revision(4));
  freshness.heard({ revision: revision(5), echoMs: 500 }, revision(4));
  freshness.heard({ revision: revision(6), echoMs: 500 }, revision(4));
  freshness.reached(revision(5));
  expect(freshness.freshMs).toBe(1_000);
});

test("Freshness: one that is far behind knows how far it has come", () => {
  const freshness = new Freshness();
  behind(freshness, { from: 1, count: 200 });
  freshness.reached(revision(40));
  expect(freshness.freshMs).toBe(39 * 500);
});
