import { monthOf, parseDays, parseWeekdays, type DayRule } from "./cron-days.ts";
import { CronError, FIELDS, parseValues } from "./cron-field.ts";

export { CronError } from "./cron-field.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
// 29 February falls on one weekday every 28 years, but for 40 around a century that has none.
const YEARS_MAX = 41;

/** When something happens: by the minute, in UTC. */
export interface Cron {
  /** The first moment after this one, in milliseconds since the epoch. */
  next(afterMs: number): number;
}

/**
 * Parses the five fields of a cron expression as Cloudflare writes them: minute, hour, day of the month,
 * month, day of the week. Where neither day is `*`, either one will do. Throws a `CronError`, also for what
 * never comes, such as 30 February.
 */
export function parseCron(expression: string): Cron {
  const fields = expression.trim().split(/[ \t]+/);
  const [minute = "", hour = "", day = "", month = "", weekday = ""] = fields;
  if (fields.length !== 5 || minute === "") {
    throw new CronError(
      `it has ${minute === "" ? 0 : fields.length} fields, and needs 5: minute, hour, day of the month, month, day of the week`,
    );
  }
  const schedule = new Schedule({
    minutes: parseValues(FIELDS.minute, minute),
    hours: parseValues(FIELDS.hour, hour),
    months: new Set(parseValues(FIELDS.month, month)),
    days: eitherOf(
      day === "*" ? undefined : parseDays(day),
      weekday === "*" ? undefined : parseWeekdays(weekday),
    ),
  });
  // From the start of a cycle of the calendar, so that the answer does not depend on the day.
  if (schedule.find(Date.UTC(2000, 0, 1) - 1) === undefined) {
    throw new CronError("it names a day that never comes");
  }
  return schedule;
}

const everyDay: DayRule = ({ days }) => Array.from({ length: days }, (_, index) => index + 1);

function eitherOf(day: DayRule | undefined, weekday: DayRule | undefined): DayRule {
  if (day === undefined) return weekday ?? everyDay;
  if (weekday === undefined) return day;
  return (month) => [...day(month), ...weekday(month)];
}

interface Parts {
  readonly minutes: ReadonlyArray<number>;
  readonly hours: ReadonlyArray<number>;
  /** From 1. */
  readonly months: ReadonlySet<number>;
  readonly days: DayRule;
}

class Schedule implements Cron {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  next(afterMs: number): number {
    const next = this.find(afterMs);
    if (next === undefined) throw new CronError("it names a day that never comes");
    return next;
  }

  find(afterMs: number): number | undefined {
    const fromMs = (Math.floor(afterMs / MINUTE_MS) + 1) * MINUTE_MS;
    const from = new Date(fromMs);
    const firstMonth = from.getUTCFullYear() * 12 + from.getUTCMonth();
    for (let index = firstMonth; index < firstMonth + YEARS_MAX * 12; index += 1) {
      const found = this.#findInMonth(Math.floor(index / 12), index % 12, fromMs);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #findInMonth(year: number, monthIndex: number, fromMs: number): number | undefined {
    if (!this.#parts.months.has(monthIndex + 1)) return undefined;
    const month = monthOf(year, monthIndex);
    const days = [...this.#parts.days(month)]
      .filter((day) => day >= 1 && day <= month.days)
      .toSorted((left, right) => left - right);
    for (const day of days) {
      const dayMs = Date.UTC(year, monthIndex, day);
      if (dayMs + 24 * HOUR_MS <= fromMs) continue;
      for (const hour of this.#parts.hours) {
        const hourMs = dayMs + hour * HOUR_MS;
        if (hourMs + HOUR_MS <= fromMs) continue;
        for (const minute of this.#parts.minutes) {
          const atMs = hourMs + minute * MINUTE_MS;
          if (atMs >= fromMs) return atMs;
        }
      }
    }
    return undefined;
  }
}
