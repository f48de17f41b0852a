import { resolve } from "node:path";
import { expect, test } from "vitest";
import { readSettings } from "./settings.ts";

test("settings: without variables everything is as documented", () => {
  expect(readSettings({})).toEqual({
    dataDirectory: resolve(".atoll"),
    databaseUrl: undefined,
    blobStore: undefined,
    port: 4400,
    metricsPort: undefined,
  });
});

// The last ports leave room for those that follow the first one.
test.each([
  ["ATOLL_PORT", "1", { port: 1 }],
  ["ATOLL_PORT", "65532", { port: 65_532 }],
  ["ATOLL_METRICS_PORT", "1", { metricsPort: 1 }],
  ["ATOLL_METRICS_PORT", "65533", { metricsPort: 65_533 }],
])("settings: %s=%s is taken", (name, value, expected) => {
  expect(readSettings({ [name]: value })).toMatchObject(expected);
});

test.each([
  ["ATOLL_PORT", "0"],
  ["ATOLL_PORT", "65533"],
  ["ATOLL_PORT", "http"],
  ["ATOLL_METRICS_PORT", "0"],
  ["ATOLL_METRICS_PORT", "65534"],
  ["ATOLL_DATA", ""],
])("settings: %s=%s is refused by its name", (name, value) => {
  expect(() => readSettings({ [name]: value })).toThrow(`${name}=${value} is no good`);
});
