import type { TailFilter } from "@atoll/control-plane/contract";
import { expect, test } from "vitest";
import { passes, type FilteredEvent } from "./tail-filter.ts";

const VERSION = "b1f3a0f6-0000-4000-8000-000000000000";

const REQUEST: FilteredEvent = {
  event: {
    outcome: "ok",
    scriptVersion: { id: VERSION },
    event: {
      request: {
        url: "http://a/",
        method: "GET",
        headers: { "X-Colour": "dark green", cookie: "REDACTED", "cf-connecting-ip": "192.0.2.1" },
      },
    },
    logs: [
      { level: "log", message: ["hello", { name: "world" }], timestamp: 1 },
      { level: "log", message: "plain", timestamp: 1 },
    ],
  },
  hidden: { cookie: "session=secret" },
};
const CRON: FilteredEvent = {
  event: { ...REQUEST.event, event: { cron: "* * * * *", scheduledTime: 1 } },
  hidden: {},
};

function always(): number {
  return 0;
}

test.each<[TailFilter, boolean]>([
  [{ outcome: ["ok"] }, true],
  [{ outcome: ["exception", "canceled"] }, false],
  [{ outcome: [] }, false],
  [{ method: ["post", "get"] }, true],
  [{ method: ["POST"] }, false],
  [{ header: { key: "x-colour" } }, true],
  [{ header: { key: "X-COLOUR", query: "green" } }, true],
  [{ header: { key: "x-colour", query: "red" } }, false],
  [{ header: { key: "x-none" } }, false],
  [{ header: { key: "__proto__" } }, false],
  // Filters look at what the event hides.
  [{ header: { key: "cookie", query: "session=secret" } }, true],
  [{ header: { key: "cookie", query: "REDACTED" } }, false],
  [{ client_ip: ["192.0.2.7", "192.0.2.1"] }, true],
  [{ client_ip: ["192.0.2.7"] }, false],
  [{ query: "hello" }, true],
  [{ query: "world" }, true],
  [{ query: "plain" }, true],
  [{ query: "absent" }, false],
  [{ scriptVersion: VERSION }, true],
  [{ scriptVersion: "another" }, false],
])("tail filter: %j lets a request pass: %s", (filter, expected) => {
  expect(passes([filter], REQUEST, always)).toBe(expected);
});

test("tail filter: what is about requests lets nothing else pass", () => {
  expect(passes([{ method: ["GET"] }], CRON, always)).toBe(false);
  expect(passes([{ header: { key: "x-colour" } }], CRON, always)).toBe(false);
  expect(passes([{ client_ip: [""] }], CRON, always)).toBe(false);
  expect(passes([{ query: "hello" }], CRON, always)).toBe(true);
});

test("tail filter: all of several have to let pass", () => {
  expect(passes([], REQUEST, always)).toBe(true);
  expect(passes([{ method: ["GET"] }, { outcome: ["ok"] }], REQUEST, always)).toBe(true);
  expect(passes([{ method: ["GET"] }, { outcome: ["canceled"] }], REQUEST, always)).toBe(false);
});

test("tail filter: chance is asked for what everything else lets pass, and for nothing more", () => {
  let asked = 0;
  const random = (): number => {
    asked += 1;
    return 0.5;
  };
  expect(passes([{ sampling_rate: 0.6 }], REQUEST, random)).toBe(true);
  expect(passes([{ sampling_rate: 0.5 }], REQUEST, random)).toBe(false);
  expect(asked).toBe(2);
  expect(passes([{ sampling_rate: 1 }, { method: ["POST"] }], REQUEST, random)).toBe(false);
  expect(asked).toBe(2);
});

test("tail filter: lines of a log that are of no known form are no reason to fail", () => {
  const event = { ...REQUEST.event, logs: [null, 1, { message: undefined }, { message: [null] }] };
  expect(passes([{ query: "hello" }], { event, hidden: {} }, always)).toBe(false);
  expect(passes([{ query: "null" }], { event, hidden: {} }, always)).toBe(true);
});
