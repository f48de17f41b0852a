import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CronError, parseCron } from "./cron.ts";

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;

/** The first moments after one, to the minute. */
function nexts(expression: string, after: string, count: number): ReadonlyArray<string> {
  const cron = parseCron(expression);
  const found: string[] = [];
  for (let ms = Date.parse(`${after}Z`); found.length < count;) {
    ms = cron.next(ms);
    found.push(new Date(ms).toISOString().slice(0, 16));
  }
  return found;
}

describe("cron: ", () => {
  test.each([
    ["* * * * *", "2026-11-20T12:00:30", ["2026-11-20T12:01", "2026-11-20T12:02"]],
    ["* * * * *", "2026-11-20T12:00", ["2026-11-20T12:01"]],
    ["*/30 * * * *", "2026-11-20T23:31", ["2026-11-21T00:00", "2026-11-21T00:30"]],
    ["50-10/10 * * * *", "2026-11-20T23:31", ["2026-11-20T23:50", "2026-11-21T00:00"]],
    ["45 17 LW * *", "2026-01-01T00:00", ["2026-01-30T17:45", "2026-02-27T17:45"]],
    ["0 0 L 2 *", "2027-01-01T00:00", ["2027-02-28T00:00", "2028-02-29T00:00"]],
    ["0 0 L-3 * *", "2027-02-01T00:00", ["2027-02-25T00:00", "2027-03-28T00:00"]],
    ["0 0 L-1W * *", "2026-05-01T00:00", ["2026-05-29T00:00"]],
    // Saturday the 15th goes back, Sunday the 15th goes on, and neither leaves its month.
    ["0 0 15W * *", "2026-08-01T00:00", ["2026-08-14T00:00", "2026-09-15T00:00"]],
    ["0 0 15W 11 *", "2026-11-01T00:00", ["2026-11-16T00:00"]],
    ["0 0 1W 8 *", "2026-07-31T00:00", ["2026-08-03T00:00"]],
    ["0 0 31W 5 *", "2026-05-01T00:00", ["2026-05-29T00:00"]],
    ["59 23 * * sun", "2026-11-20T00:00", ["2026-11-22T23:59"]],
    ["59 23 * * 1", "2026-11-20T00:00", ["2026-11-22T23:59"]],
    ["10 7 * * Mon-Fri", "2026-11-20T12:00", ["2026-11-23T07:10"]],
    ["10 7 * * fri-mon", "2026-11-24T12:00", ["2026-11-27T07:10", "2026-11-28T07:10"]],
    ["0 18 * * friL", "2026-11-01T00:00", ["2026-11-27T18:00", "2026-12-25T18:00"]],
    ["0 18 * * 6L", "2026-11-01T00:00", ["2026-11-27T18:00"]],
    ["0 18 * * 2#1", "2026-11-01T00:00", ["2026-11-02T18:00", "2026-12-07T18:00"]],
    ["0 18 * * mon#5", "2026-11-01T00:00", ["2026-11-30T18:00", "2027-03-29T18:00"]],
    ["0 18 * * L", "2026-11-01T00:00", ["2026-11-07T18:00", "2026-11-14T18:00"]],
    ["0 0 * JAN-JUN FRI", "2026-11-20T00:00", ["2027-01-01T00:00"]],
    ["0 0 LW JUL-DEC *", "2026-11-20T00:00", ["2026-11-30T00:00"]],
    // Either day will do, where both are given.
    ["0 0 25 * FRI", "2026-11-20T00:00", ["2026-11-25T00:00", "2026-11-27T00:00"]],
    ["0 0 29 2 *", "2096-03-01T00:00", ["2104-02-29T00:00"]],
    ["0 0 * 2 1#5", "2026-01-01T00:00", ["2032-02-29T00:00"]],
  ])("'%s' after %s", (expression, after, expected) => {
    expect(nexts(expression, after, expected.length)).toEqual(expected);
  });

  test.each([
    ["", "0 fields"],
    ["* * * *", "4 fields"],
    ["0 * * * * *", "6 fields"],
    ["@daily", "1 fields"],
    ["60 * * * *", "'60' of the minute is not one of 0 to 59"],
    ["-1 * * * *", "'' of the minute"],
    ["1.5 * * * *", "'1.5' of the minute"],
    ["*/0 * * * *", "step that is not one of 1 to 59"],
    ["*/60 * * * *", "step that is not one of 1 to 59"],
    ["1/2/3 * * * *", "more than one '/'"],
    ["1-2-3 * * * *", "more than one '-'"],
    ["1,,2 * * * *", "'' of the minute"],
    ["*,5 * * * *", "can't be one of a list"],
    ["* 24 * * *", "'24' of the hour is not one of 0 to 23"],
    ["* * 0 * *", "'0' of the day of the month"],
    ["* * 32W * *", "'32' of the day of the month"],
    ["* * L-31 * *", "counts back"],
    ["* * 1,L * *", "stand alone"],
    ["* * * 13 *", "'13' of the month is not one of 1 to 12 or JAN to DEC"],
    ["* * * juli *", "'juli' of the month"],
    ["* * * * 0", "not one of 1 to 7 or SUN to SAT, where 1 is Sunday"],
    ["* * * * 8L", "'8' of the day of the week"],
    ["* * * * 2#6", "counts to something else than 1 to 5"],
    ["* * * * 2#", "counts to something else than 1 to 5"],
    ["* * * * MON,2#1", "stand alone"],
    ["* * ? * *", "'?' of the day of the month"],
    ["0 0 30 2 *", "never comes"],
    ["0 0 31 4,6,9,11 *", "never comes"],
  ])("'%s' is refused: %s", (expression, rule) => {
    expect(() => parseCron(expression)).toThrow(CronError);
    expect(() => parseCron(expression)).toThrow(rule);
  });

  test("any text is parsed or refused with a CronError, in bounded time", () => {
    const part = fc.stringMatching(/^[0-9*,/#LW-]{0,8}$/);
    const texts = fc.oneof(
      fc.string(),
      fc.array(part, { minLength: 5, maxLength: 5 }).map((parts) => parts.join(" ")),
    );
    fc.assert(
      fc.property(texts, (text) => {
        expect(isParsedOrRefused(text)).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });

  test("the next moment is the first minute that has every field", () => {
    const list = (min: number, max: number) =>
      fc.option(fc.uniqueArray(fc.integer({ min, max }), { minLength: 1, maxLength: 6 }), {
        nil: undefined,
      });
    const fields = fc.record({
      minutes: list(0, 59),
      hours: list(0, 23),
      days: list(1, 31),
      months: list(1, 12),
      weekdays: list(1, 7),
      afterMs: fc.integer({ min: Date.UTC(2020, 0, 1), max: Date.UTC(2040, 0, 1) }),
    });
    const has = (values: ReadonlyArray<number> | undefined, value: number): boolean =>
      values === undefined || values.includes(value);
    fc.assert(
      fc.property(fields, ({ minutes, hours, days, months, weekdays, afterMs }) => {
        const text = [minutes, hours, days, months, weekdays]
          .map((field) => field?.join() ?? "*")
          .join(" ");
        const isMeant = (ms: number): boolean => {
          const date = new Date(ms);
          const isDay = has(days, date.getUTCDate());
          const isWeekday = has(weekdays, date.getUTCDay() + 1);
          const isEither = days !== undefined && weekdays !== undefined;
          return (
            has(minutes, date.getUTCMinutes()) &&
            has(hours, date.getUTCHours()) &&
            has(months, date.getUTCMonth() + 1) &&
            (isEither ? isDay || isWeekday : isDay && isWeekday)
          );
        };
        fc.pre(canCome(text));
        const next = parseCron(text).next(afterMs);
        expect(next).toBeGreaterThan(afterMs);
        expect(isMeant(next)).toBe(true);
        // Looking at every minute of the days before would take years.
        const fromMs = Math.max(afterMs + 1, next - 2 * DAY_MS);
        const minutesBefore = momentsBetween(fromMs, next, MINUTE_MS);
        const timeMs = ((hours?.[0] ?? 0) * 60 + (minutes?.[0] ?? 0)) * MINUTE_MS;
        const daysBefore = momentsBetween(afterMs, next - DAY_MS, DAY_MS).map((ms) => ms + timeMs);
        const earlier = [...minutesBefore, ...daysBefore].filter(isMeant);
        expect(earlier.map((ms) => new Date(ms).toISOString())).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });
});

/** Multiples of a step, from a moment on. */
function momentsBetween(fromMs: number, toMs: number, stepMs: number): ReadonlyArray<number> {
  const moments: number[] = [];
  for (let ms = Math.ceil(fromMs / stepMs) * stepMs; ms < toMs; ms += stepMs) moments.push(ms);
  return moments;
}

function isParsedOrRefused(text: string): boolean {
  try {
    parseCron(text);
    return true;
  } catch (error) {
    return error instanceof CronError;
  }
}

function canCome(text: string): boolean {
  try {
    parseCron(text);
    return true;
  } catch {
    // Such as 31 June alone: tested above.
    return false;
  }
}
