/** Why an expression is refused. Its message names the field, what is wrong there, and the rule. */
export class CronError extends Error {
  override readonly name = "CronError";
}

export interface CronField {
  readonly name: string;
  readonly min: number;
  readonly max: number;
  /** Names of the values, the first one for `min`. */
  readonly names: ReadonlyArray<string>;
}

const MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split(" ");
const WEEKDAYS = "SUN MON TUE WED THU FRI SAT".split(" ");

export const FIELDS = {
  minute: { name: "minute", min: 0, max: 59, names: [] },
  hour: { name: "hour", min: 0, max: 23, names: [] },
  day: { name: "day of the month", min: 1, max: 31, names: [] },
  month: { name: "month", min: 1, max: 12, names: MONTHS },
  /** From 1 for Sunday, as on Cloudflare: not the 0 of Unix. */
  weekday: { name: "day of the week", min: 1, max: 7, names: WEEKDAYS },
} as const satisfies Record<string, CronField>;

/**
 * The values of a list of numbers, names, ranges and steps, in their order; the whole field for `*`. A range
 * may lead over the end of its field: `22-2` of hours is 22, 23, 0, 1, 2.
 */
export function parseValues(field: CronField, text: string): ReadonlyArray<number> {
  if (text === "*") return valuesBetween(field, field.min, field.max);
  const values = new Set(text.split(",").flatMap((item) => parseItem(field, item)));
  return [...values].toSorted((left, right) => left - right);
}

/** One value, as a number or a name in either case. */
export function parseValue(field: CronField, text: string): number {
  const named = field.names.indexOf(text.toUpperCase());
  if (named >= 0) return field.min + named;
  const value = /^\d{1,2}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= field.min && value <= field.max) return value;
  const names = field.names.length === 0 ? "" : ` or ${field.names[0]} to ${field.names.at(-1)}`;
  const sunday = field === FIELDS.weekday ? ", where 1 is Sunday" : "";
  throw invalid(field, text, `is not one of ${field.min} to ${field.max}${names}${sunday}`);
}

export function invalid(field: CronField, text: string, rule: string): CronError {
  return new CronError(`'${text}' of the ${field.name} ${rule}`);
}

function parseItem(field: CronField, item: string): ReadonlyArray<number> {
  const [range = "", stepText, ...rest] = item.split("/");
  if (rest.length > 0) throw invalid(field, item, "has more than one '/'");
  if (stepText === undefined && range === "*") {
    throw invalid(field, item, "is every value, and can't be one of a list");
  }
  const values = parseRange(field, range, stepText !== undefined);
  if (stepText === undefined) return values;
  const step = parseStep(field, item, stepText);
  return values.filter((_, index) => index % step === 0);
}

/** A value alone, or all from it on where a step follows. */
function parseRange(field: CronField, range: string, isStepped: boolean): ReadonlyArray<number> {
  if (range === "*") return valuesBetween(field, field.min, field.max);
  const [from = "", to, ...rest] = range.split("-");
  if (rest.length > 0) throw invalid(field, range, "has more than one '-'");
  const first = parseValue(field, from);
  if (to !== undefined) return valuesBetween(field, first, parseValue(field, to));
  return isStepped ? valuesBetween(field, first, field.max) : [first];
}

function parseStep(field: CronField, item: string, text: string): number {
  const step = /^\d{1,2}$/.test(text) ? Number(text) : 0;
  const stepMax = field.max - field.min;
  if (step >= 1 && step <= stepMax) return step;
  throw invalid(field, item, `has a step that is not one of 1 to ${stepMax}`);
}

function valuesBetween({ min, max }: CronField, from: number, to: number): ReadonlyArray<number> {
  const size = max - min + 1;
  const length = ((to - from + size) % size) + 1;
  return Array.from({ length }, (_, index) => min + ((from - min + index) % size));
}
