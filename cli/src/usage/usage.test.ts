import { VersionId } from "@atoll/control-plane/contract";
import { expect, test } from "vitest";
import { formatUsage } from "./usage.ts";

const ROW = {
  worker: "hello",
  version: VersionId.parse("11111111-2222-4222-8222-222222222222"),
  requests: 1_234,
  errors: 5,
  wallMs: 9_999,
  cpuMs: 12_345.678,
  memoryPeakBytes: 30 * 1024 * 1024,
  bytesIn: 0,
  bytesOut: 1_023,
  subrequests: 6,
  subrequestBytesOut: 1,
  subrequestBytesIn: 1,
  kvReads: 7,
  kvWrites: 8,
  kvDeletes: 9,
  kvLists: 10,
};

test("usage: a row for each version, in units that people read", () => {
  const text = formatUsage({
    from: "2026-11-01T00:00:00.000Z",
    to: "2026-12-01T00:00:00.000Z",
    workers: [ROW],
    today: {
      ...{ day: "2026-11-20", endsAt: "2026-11-21T00:00:00.000Z", requests: 7, requestsMax: 7 },
      ...{ cpuMs: 12.4, cpuMsMax: null, isUsedUp: true },
      ...{ kvReads: 3, kvReadsMax: 10, kvLists: 0, kvListsMax: null },
    },
  });
  expect(text.split("\n").at(-1)).toBe(
    "today, until 2026-11-21T00:00:00.000Z: 7 of 7 requests, 12 ms of CPU, 3 of 10 KV reads, 0 KV lists: used up, requests are refused",
  );
  const [head = "", ...lines] = text.split("\n");
  expect(head).toBe("usage from 2026-11-01T00:00:00.000Z to 2026-12-01T00:00:00.000Z");
  const cells = lines[3]
    ?.split("│")
    .map((cell) => cell.trim())
    .slice(1, -1);
  expect(cells).toEqual([
    ...["hello", "11111111", "1234", "5", "12.3 s", "9999 ms", "30.0 MiB", "0 B", "1023 B"],
    ...["6", "7", "8", "9", "10"],
  ]);
});
