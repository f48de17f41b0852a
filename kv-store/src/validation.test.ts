import { expect, test } from "vitest";
import type { KvErrorCode } from "./errors.ts";
import { LIMITS } from "./limits.ts";
import {
  checkCacheTtl,
  checkValueSize,
  parseExpiration,
  parseKey,
  parseListLimit,
  parseMetadata,
  parsePrefix,
} from "./validation.ts";

const NOW_MS = 1_800_000_000_999;
const NOW = 1_800_000_000;

function codeOf(action: () => unknown): KvErrorCode | "accepted" {
  try {
    action();
    return "accepted";
  } catch (error) {
    return (error as { code: KvErrorCode }).code; // anything else fails the comparison
  }
}

test("validation: keys are measured in UTF-8 bytes, and a few are no keys", () => {
  expect(codeOf(() => parseKey("é".repeat(LIMITS.keyBytesMax / 2)))).toBe("accepted");
  expect(codeOf(() => parseKey(`${"é".repeat(LIMITS.keyBytesMax / 2)}x`))).toBe("key_too_long");
  for (const key of ["", ".", "..", "half \ud800"]) {
    expect(codeOf(() => parseKey(key))).toBe("key_invalid");
  }
  for (const key of ["...", " ", "\0", "a/../b"]) expect(parseKey(key)).toBe(key);
});

test("validation: a prefix may be empty, but not longer than a key", () => {
  expect(parsePrefix("")).toBe("");
  expect(codeOf(() => parsePrefix("x".repeat(LIMITS.keyBytesMax + 1)))).toBe("key_too_long");
});

test("validation: metadata is JSON of a bounded size, kept as it was written", () => {
  const text = (bytes: number): string => JSON.stringify("x".repeat(bytes - 2));
  expect(parseMetadata('{ "a": 1 }')).toBe('{ "a": 1 }');
  expect(codeOf(() => parseMetadata(text(LIMITS.metadataBytesMax)))).toBe("accepted");
  expect(codeOf(() => parseMetadata(text(LIMITS.metadataBytesMax + 1)))).toBe("metadata_too_large");
  expect(codeOf(() => parseMetadata("{"))).toBe("metadata_invalid");
});

test("validation: values have a size up to the limit and not a byte more", () => {
  expect(codeOf(() => checkValueSize(LIMITS.valueBytesMax))).toBe("accepted");
  expect(codeOf(() => checkValueSize(LIMITS.valueBytesMax + 1))).toBe("value_too_large");
});

test("validation: an expiration is at least a minute away, said either way", () => {
  expect(parseExpiration({}, NOW_MS)).toBeUndefined();
  expect(parseExpiration({ expiration: null, expirationTtl: null }, NOW_MS)).toBeUndefined();
  expect(parseExpiration({ expirationTtl: 60 }, NOW_MS)).toBe(NOW + 60);
  expect(parseExpiration({ expirationTtl: "60" }, NOW_MS)).toBe(NOW + 60);
  expect(parseExpiration({ expiration: NOW + 60 }, NOW_MS)).toBe(NOW + 60);
  expect(parseExpiration({ expiration: 5, expirationTtl: 61 }, NOW_MS)).toBe(NOW + 61);
  const latest = LIMITS.expirationSecondsMax;
  expect(parseExpiration({ expirationTtl: latest - NOW }, NOW_MS)).toBe(latest);
});

test.each([
  { expirationTtl: 59 },
  { expirationTtl: 0 },
  { expirationTtl: -60 },
  { expirationTtl: "60s" },
  { expirationTtl: "" },
  { expirationTtl: 60.5 },
  { expirationTtl: "1e3" },
  { expirationTtl: Number.NaN },
  { expirationTtl: Number.MAX_SAFE_INTEGER },
  { expirationTtl: LIMITS.expirationSecondsMax - NOW + 1 },
  { expiration: NOW + 59 },
  { expiration: NOW },
  { expiration: 0 },
  { expiration: "tomorrow" },
  // Milliseconds where seconds are meant.
  { expiration: NOW_MS + 60_000 },
])("validation: %j is no expiration", (request) => {
  expect(codeOf(() => parseExpiration(request, NOW_MS))).toBe("expiration_invalid");
});

test("validation: a listing's limit is from 1 to 1,000", () => {
  expect([parseListLimit(null), parseListLimit("1"), parseListLimit(1_000)]).toEqual([
    1_000, 1, 1_000,
  ]);
  for (const limit of ["0", "-1", "1001", "x", "1.5", ""]) {
    expect(codeOf(() => parseListLimit(limit))).toBe("limit_invalid");
  }
});

test("validation: a cache TTL is at least half a minute", () => {
  expect(codeOf(() => checkCacheTtl("30"))).toBe("accepted");
  for (const ttl of ["29", "x", -1]) {
    expect(codeOf(() => checkCacheTtl(ttl))).toBe("cache_ttl_invalid");
  }
});
