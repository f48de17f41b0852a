import { InvalidArgumentError } from "commander";

const UNITS_MS = { s: 1_000, m: 60_000, h: 60 * 60_000, d: 24 * 60 * 60_000 } as const;

/** A date with its time and zone: without a zone it would mean another moment on another machine. */
const DATE = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d)$/;

/** Parses a moment of the past: a date as in ISO 8601, or how long ago it was, such as `90m`. */
export function parseMoment(text: string, nowMs = Date.now()): Date {
  const ago = /^(\d{1,6})([smhd])$/.exec(text);
  if (ago !== null) {
    const [, count, unit] = ago;
    return new Date(nowMs - Number(count) * UNITS_MS[unit as keyof typeof UNITS_MS]); // by the pattern
  }
  const date = new Date(DATE.test(text) ? text : Number.NaN);
  if (!Number.isNaN(date.getTime())) return date;
  throw new InvalidArgumentError(
    "A moment is a date such as 2026-11-20T12:00:00Z, or how long ago it was, such as 30s, 90m, 2h or 3d.",
  );
}
