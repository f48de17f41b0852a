import { InvalidArgumentError } from "commander";

const UNITS_MS = { s: 1_000, m: 60_000, h: 60 * 60_000, d: 24 * 60 * 60_000 } as const;

/** A date with its time and zone: without a zone it would mean another moment on another machine. */
const DATE = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d)$/;

/** Parses a moment of the past: a date as in ISO 8601, or how long ago it was, such as `90m`. */
export function parseMoment(text: string, nowMs = Date.now()): Date {
  const agoMs = parseDurationMs(text);
  const date = agoMs === undefined ? parseDate(text) : new Date(nowMs - agoMs);
  if (date !== undefined) return date;
  throw new InvalidArgumentError(
    "A moment is a date such as 2026-11-20T12:00:00Z, or how long ago it was, such as 30s, 90m, 2h or 3d.",
  );
}

/** Parses a moment to come: a date as in ISO 8601, or in how long it is, such as `90d`. */
export function parseFutureMoment(text: string, nowMs = Date.now()): Date {
  const aheadMs = parseDurationMs(text);
  const date = aheadMs === undefined ? parseDate(text) : new Date(nowMs + aheadMs);
  if (date !== undefined && date.getTime() > nowMs) return date;
  throw new InvalidArgumentError(
    "It is a date to come such as 2099-11-20T12:00:00Z, or a time from now such as 90m, 12h or 90d.",
  );
}

function parseDurationMs(text: string): number | undefined {
  const [, count, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  if (unit === undefined) return undefined;
  return Number(count) * UNITS_MS[unit as keyof typeof UNITS_MS]; // by the pattern
}

function parseDate(text: string): Date | undefined {
  const date = new Date(DATE.test(text) ? text : Number.NaN);
  return Number.isNaN(date.getTime()) ? undefined : date;
}
