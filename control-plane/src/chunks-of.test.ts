import { expect, test } from "vitest";
import { chunksOf } from "./chunks-of.ts";

test.each([
  [0, []],
  [1, [[0]]],
  [3, [[0, 1, 2]]],
  [4, [[0, 1, 2], [3]]],
  [
    6,
    [
      [0, 1, 2],
      [3, 4, 5],
    ],
  ],
])("chunks: %i items in threes", (count, chunks) => {
  expect([...chunksOf(Array(count).keys(), 3)]).toEqual(chunks);
});
