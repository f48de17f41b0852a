import { InvalidArgumentError } from "commander";
import { expect, test } from "vitest";
import {
  parseBucket,
  parseDnsServers,
  parseEndpoint,
  parseHistoryDays,
  parseKvBudget,
  parseMegabytes,
  parseMemoryBudget,
  parsePort,
  parsePostgresUrl,
  parseQuota,
} from "./options.ts";

test.each([
  ["64", 64],
  ["65", 65],
  ["8192", 8_192],
  ["16777215", 16_777_215],
  ["16777216", 16_777_216],
])("options: a memory budget of %s MB is taken", (text, megabytes) => {
  expect(parseMemoryBudget(text)).toBe(megabytes);
});

test.each([
  "63",
  "0",
  "-64",
  "16777217",
  "17179869184",
  "64.5",
  "64MB",
  "1e3",
  "0x40",
  " 64",
  "",
  "many",
])("options: '%s' is no memory budget", (text) => {
  expect(() => parseMemoryBudget(text)).toThrow(InvalidArgumentError);
  expect(() => parseMemoryBudget(text)).toThrow("from 64 to 16777216");
});

test.each([
  ["16", 16],
  ["17", 17],
  ["16777215", 16_777_215],
  ["16777216", 16_777_216],
])("options: a key-value budget of %s MB is taken", (text, megabytes) => {
  expect(parseKvBudget(text)).toBe(megabytes);
});

test.each(["15", "0", "-16", "16777217", "16.5", "16MB", "", "all"])(
  "options: '%s' is no key-value budget",
  (text) => {
    expect(() => parseKvBudget(text)).toThrow("from 16 to 16777216");
  },
);

test.each([
  ["1", 1],
  ["2", 2],
  ["65534", 65_534],
  ["65535", 65_535],
])("options: port %s is taken", (text, port) => {
  expect(parsePort(text)).toBe(port);
});

test.each(["0", "65536", "-1", "80.5", "http", "", "0x50"])("options: '%s' is no port", (text) => {
  expect(() => parsePort(text)).toThrow(InvalidArgumentError);
});

test.each(["postgres://atoll:pw@db:5432/kv", "postgresql://db/kv", "postgres://u@%2Frun%2Fpg/kv"])(
  "options: %s is the address of a database",
  (text) => {
    expect(parsePostgresUrl(text)).toBe(text);
  },
);

test.each(["db:5432/kv", "mysql://db/kv", "http://db/kv", "kv", ""])(
  "options: '%s' is no address of a database",
  (text) => {
    expect(() => parsePostgresUrl(text)).toThrow(InvalidArgumentError);
  },
);

test("options: a history is from 1 to 366 days", () => {
  expect(["1", "366"].map(parseHistoryDays)).toEqual([1, 366]);
  for (const text of ["0", "367", "1.5", "", "week"]) {
    expect(() => parseHistoryDays(text)).toThrow("from 1 to 366");
  }
});

test("options: a size is one MB or more", () => {
  expect(["1", "16777216"].map(parseMegabytes)).toEqual([1, 16_777_216]);
  for (const text of ["0", "16777217", "1.5", "64MB"]) {
    expect(() => parseMegabytes(text)).toThrow("from 1 to 16777216");
  }
});

test("options: a bound is a number, or none", () => {
  expect(["0", "1000000000", "none"].map(parseQuota)).toEqual([0, 1_000_000_000, "none"]);
  for (const text of ["-1", "1000000001", "1e3", "", "None"]) {
    expect(() => parseQuota(text)).toThrow("or 'none'");
  }
});

test.each([
  ["s3://bucket", "bucket", ""],
  ["s3://bucket/", "bucket", ""],
  ["s3://my.bucket-1/atoll", "my.bucket-1", "atoll/"],
  ["s3://bucket/a/b/", "bucket", "a/b/"],
])("options: '%s' is a bucket", (text, bucket, prefix) => {
  expect(parseBucket(text)).toEqual({ bucket, prefix });
});

test.each([
  "",
  "bucket",
  "s3://",
  "s3://b",
  "s3://UPPER",
  "s3:///a",
  "s3://bucket/..",
  "s3://bucket/a b",
])("options: '%s' is no bucket", (text) => {
  expect(() => parseBucket(text)).toThrow("s3://bucket/folder");
});

test("options: the address of a server of S3 has nothing but a host and a port", () => {
  for (const text of ["https://s3.example.com", "http://127.0.0.1:9000", "http://h/"]) {
    expect(parseEndpoint(text)).toBe(text);
  }
  for (const text of ["", "s3.example.com", "ftp://h", "http://a:b@h", "http://h/bucket"]) {
    expect(() => parseEndpoint(text), text).toThrow("https://host:port");
  }
});

test.each([
  ["127.0.0.1", ["127.0.0.1:53"]],
  ["192.0.2.1:5353", ["192.0.2.1:5353"]],
  ["2001:db8::1", ["[2001:db8::1]:53"]],
  ["[2001:db8::1]:5353, 192.0.2.1", ["[2001:db8::1]:5353", "192.0.2.1:53"]],
])("options: DNS servers %s are taken", (text, servers) => {
  expect(parseDnsServers(text)).toEqual(servers);
});

test.each([
  ["", "It is an IP address"],
  ["dns.example", "It is an IP address"],
  ["dns.example:53", "It is an IP address"],
  ["192.0.2.1,", "It is an IP address"],
  ["[192.0.2.1]:53", "It is an IP address"],
  ["192.0.2.1:x", "It is an IP address"],
  ["192.0.2.1:0", "A port is"],
  ["192.0.2.1:65536", "A port is"],
  ["1.1.1.1,1.1.1.2,1.1.1.3,1.1.1.4,1.1.1.5", "At most 4"],
])("options: '%s' is no list of DNS servers", (text, message) => {
  expect(() => parseDnsServers(text)).toThrow(message);
});
