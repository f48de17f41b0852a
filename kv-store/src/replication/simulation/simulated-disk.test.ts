import { expect, test } from "vitest";
import { Key } from "../../entry.ts";
import { NamespaceId } from "../../names.ts";
import { Random } from "./random.ts";
import { SimulatedDisk } from "./simulated-disk.ts";
import { SimulatedHistory } from "./simulated-history.ts";

test("simulation: a bit that changes twice is the bit that it was", () => {
  const namespace = NamespaceId.parse("a".repeat(32));
  const history = new SimulatedHistory();
  const none = history.point;
  const value = { kind: "inline", bytes: new Uint8Array([0]) } as const;
  const operation = { kind: "put", key: Key.parse("k"), value } as const;
  history.append([operation], { nowMs: 0, clockMs: 0 });
  const disk = new SimulatedDisk();
  const steps = [
    { kind: "snapshot-start", ...none },
    { kind: "snapshot-end", ...none, through: null },
    { kind: "batch", after: none.revision, ...history.point, operations: [operation] },
  ] as const;
  for (const [token, action] of steps.entries()) disk.handOver({ token, namespace, action });
  while (disk.commitNext(false) !== undefined);
  disk.damage(namespace, new Random(1));
  expect(disk.damaged()).toEqual([namespace]);
  expect(disk.holding(namespace)).toMatchObject({ isDamaged: true });
  disk.damage(namespace, new Random(1));
  expect(disk.damaged()).toEqual([]);
  expect(disk.holding(namespace)).toMatchObject({ isDamaged: false });
});
