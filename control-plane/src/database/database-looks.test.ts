import { pino } from "pino";
import { expect, test } from "vitest";
import { TestClock } from "../test-support/test-clock.ts";
import { DatabaseLooks } from "./database-looks.ts";

test("looks at the database: several that are asked for during one are one more, and none begins after the end", async () => {
  let begun = 0;
  let first = Promise.withResolvers<void>();
  const looks = new DatabaseLooks({
    look: async () => {
      begun += 1;
      await first.promise;
    },
    failure: "could not look",
    clock: new TestClock(),
    log: pino({ level: "silent" }),
  });
  looks.ask();
  looks.ask();
  looks.ask();
  first.resolve();
  await expect.poll(() => begun).toBe(2);
  first = Promise.withResolvers();
  looks.ask();
  const closed = looks.close();
  looks.ask();
  first.resolve();
  await closed;
  looks.ask();
  expect(begun).toBe(3);
});
