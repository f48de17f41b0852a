import { FIELDS, invalid, parseValue, parseValues } from "./cron-field.ts";

/** A month of the calendar, in UTC. */
export interface Month {
  readonly days: number;
  /** Of its first day, from 1 for Sunday. */
  readonly firstWeekday: number;
}

/** Tells which days of a month are meant; a day that the month does not have is none. */
export type DayRule = (month: Month) => ReadonlyArray<number>;

export function monthOf(year: number, monthIndex: number): Month {
  return {
    days: new Date(Date.UTC(year, monthIndex + 1, 0)).getUTCDate(),
    firstWeekday: new Date(Date.UTC(year, monthIndex, 1)).getUTCDay() + 1,
  };
}

/** `L`, `L-3`, `LW`, `L-3W`, `15W`, or values. */
export function parseDays(text: string): DayRule {
  const last = /^L(?:-(\d{1,2}))?(W)?$/.exec(text);
  if (last !== null) {
    const offset = last[1] === undefined ? 0 : Number(last[1]);
    if (last[1] !== undefined && (offset < 1 || offset > 30)) {
      throw invalid(FIELDS.day, text, "counts back by something else than 1 to 30");
    }
    return (month) => {
      const day = month.days - offset;
      return last[2] === undefined ? [day] : closestWorkday(month, day);
    };
  }
  const closest = /^(\w+)W$/.exec(text);
  if (closest !== null) {
    const day = parseValue(FIELDS.day, closest[1] ?? "");
    return (month) => closestWorkday(month, day);
  }
  requirePlain(FIELDS.day, text, /[LW]/);
  const days = parseValues(FIELDS.day, text);
  return () => days;
}

/** `L` for Saturday, `friL` for the last Friday of the month, `2#1` for its first Monday, or values. */
export function parseWeekdays(text: string): DayRule {
  const field = FIELDS.weekday;
  if (text === "L") return everyWeek([field.max]);
  const last = /^(\w+)L$/.exec(text);
  if (last !== null) {
    const weekday = parseValue(field, last[1] ?? "");
    return (month) => daysOn(month, weekday).slice(-1);
  }
  const nth = /^(\w+)#(.*)$/.exec(text);
  if (nth !== null) {
    const weekday = parseValue(field, nth[1] ?? "");
    const count = /^[1-5]$/.test(nth[2] ?? "") ? Number(nth[2]) : 0;
    if (count === 0) throw invalid(field, text, "counts to something else than 1 to 5");
    return (month) => daysOn(month, weekday).slice(count - 1, count);
  }
  requirePlain(field, text, /L|#/);
  return everyWeek(parseValues(field, text));
}

/** Letters stand alone, as on Cloudflare; the message for a name with one in it would mislead. */
function requirePlain(
  field: typeof FIELDS.day | typeof FIELDS.weekday,
  text: string,
  sign: RegExp,
): void {
  const isWithin = text.split(/[,/-]/).some((part) => {
    return sign.test(part) && !(field.names as ReadonlyArray<string>).includes(part.toUpperCase());
  });
  if (isWithin && /[,/-]/.test(text)) {
    throw invalid(field, text, "puts L, W or # in a list, range or step: they stand alone");
  }
}

function everyWeek(weekdays: ReadonlyArray<number>): DayRule {
  return (month) => weekdays.flatMap((weekday) => daysOn(month, weekday));
}

function daysOn(month: Month, weekday: number): ReadonlyArray<number> {
  const first = 1 + ((weekday - month.firstWeekday + 7) % 7);
  return [0, 7, 14, 21, 28].map((days) => first + days).filter((day) => day <= month.days);
}

/** The Monday to Friday of the same month that is closest. */
function closestWorkday(month: Month, day: number): ReadonlyArray<number> {
  if (day < 1 || day > month.days) return [];
  const weekday = ((month.firstWeekday - 1 + day - 1) % 7) + 1;
  if (weekday === 7) return [day === 1 ? day + 2 : day - 1];
  if (weekday === 1) return [day === month.days ? day - 2 : day + 1];
  return [day];
}
