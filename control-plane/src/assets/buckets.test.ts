import { expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { filesByHash, packBuckets } from "./buckets.ts";

function files(count: number, size: number) {
  return new Map(Array.from({ length: count }, (_, index) => [`${index}`, { size }]));
}

test("buckets: nothing missing makes none", () => {
  expect(packBuckets(new Map())).toEqual([]);
});

test("buckets: full by count at the limit, and one more file opens the next", () => {
  const counts = (count: number) => packBuckets(files(count, 1)).map(({ length }) => length);
  expect(counts(LIMITS.assetBucketFilesMax)).toEqual([LIMITS.assetBucketFilesMax]);
  expect(counts(LIMITS.assetBucketFilesMax + 1)).toEqual([LIMITS.assetBucketFilesMax, 1]);
});

test("buckets: full by bytes at the limit; a file over it stands alone", () => {
  const half = LIMITS.assetBucketBytesMax / 2;
  expect(packBuckets(files(3, half)).map(({ length }) => length)).toEqual([2, 1]);
  expect(packBuckets(files(2, LIMITS.assetBytesMax)).map(({ length }) => length)).toEqual([1, 1]);
});

test("buckets: a file that several paths share is asked for once", () => {
  const same = { hash: "a".repeat(32), size: 1 };
  expect(packBuckets(filesByHash({ "/a": same, "/b": same }))).toEqual([[same.hash]]);
});
