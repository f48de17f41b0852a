import { expect, test } from "vitest";
import { Key, type KvOperation } from "../../entry.ts";
import { SimulatedHistory } from "./simulated-history.ts";

const NOW = { nowMs: 0, clockMs: 0 };

function put(key: string): KvOperation {
  return {
    kind: "put",
    key: Key.parse(key),
    value: { kind: "inline", bytes: new Uint8Array([1]) },
  };
}

test("simulation: entries count as a history's with the revisions of one that it replaced, and with no others", () => {
  const first = new SimulatedHistory();
  first.append([put("a"), put("b")], NOW);
  // The same again leads to the same state, at another revision.
  first.append([put("b")], NOW);
  const second = new SimulatedHistory(first, 2);
  second.append([{ kind: "delete", key: Key.parse("c") }], NOW);
  expect(second.point).toEqual(first.point);
  expect(second.isState(3, first.entries)).toBe(true);
  expect(first.isState(3, second.entries)).toBe(false);
  const unheard = new Map(first.entries);
  for (const [key, entry] of first.entries) unheard.set(key, { ...entry, revision: 3 });
  expect(first.isState(3, unheard)).toBe(false);
  expect(second.isState(3, unheard)).toBe(false);
});
