import { AccountKvStatus } from "@atoll/control-plane";
import { expect, test } from "vitest";
import { formatKvStatus } from "./status.ts";

type Replica = AccountKvStatus["namespaces"][number]["replicas"][number];

const REPLICA: Replica = {
  ...{ node: "fra", region: "fra", connected: true, revision: 3, lagMs: 12, digest: null },
  ...{ repairing: null, repairs: 0, lastRepair: null, isStorageFailing: false },
  ...{ extent: "whole", bytes: 2_048 },
};

/** The line of a node's copy. */
function lineOf(replica: Partial<Replica>): string {
  const quota = {
    ...{ keysMax: null, bytesMax: null },
    ...{ writesPerSecondMax: null, writesPerDayMax: null },
  };
  const log = { records: 3, bytes: 900, since: "2026-11-20T12:00:00.000Z" };
  const namespace = { id: "a".repeat(32), title: "words", revision: 4, digest: "d", log };
  const text = formatKvStatus(
    AccountKvStatus.parse({
      account: { id: "b", name: "ours", keys: 2, bytes: 1_000, writesToday: 0, quota },
      namespaces: [{ ...namespace, keys: 2, bytes: 1_000, replicas: [{ ...REPLICA, ...replica }] }],
    }),
  );
  const line = text.split("\n").find((each) => each.includes("fra"));
  return (line ?? "").replaceAll(/\s*│\s*/g, " | ");
}

test("kv status: each node's copy has its size, and says which values it has", () => {
  expect(lineOf({})).toContain("| 3 of 4 | 12 ms | 2.0 KiB | all | follows |");
  expect(lineOf({ extent: "partial" })).toContain("| those read lately | follows |");
  expect(lineOf({ extent: "filling", bytes: 0 })).toContain("| 0 B | all soon | follows |");
});

test("kv status: a copy whose disk refuses changes does not follow", () => {
  expect(lineOf({ isStorageFailing: true })).toContain("stays as it is: the node's disk refuses");
});
