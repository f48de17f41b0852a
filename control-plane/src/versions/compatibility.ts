import { ControlPlaneError } from "../errors.ts";

// What a worker without a date gets, as on Cloudflare: the first date there was.
const OLDEST_DATE = "2021-11-02";

/**
 * Checks a compatibility date as far as it can be told without the runtime: the preflight refuses dates
 * that are newer than the fleet's workerd.
 */
export function parseCompatibilityDate(text: string | null | undefined, nowMs: number): string {
  if (text === null || text === undefined) return OLDEST_DATE;
  if (!isDate(text)) {
    throw new ControlPlaneError(
      "invalid_compatibility",
      `The compatibility date '${text.slice(0, 100)}' is not a date of the form YYYY-MM-DD`,
    );
  }
  const today = new Date(nowMs).toISOString().slice(0, 10);
  if (text > today) {
    throw new ControlPlaneError(
      "invalid_compatibility",
      `The compatibility date '${text}' is in the future: today is ${today}`,
    );
  }
  if (text < OLDEST_DATE) {
    throw new ControlPlaneError(
      "invalid_compatibility",
      `The compatibility date '${text}' is before ${OLDEST_DATE}, the first there was`,
    );
  }
  return text;
}

/** Checks the form of flags; whether one exists is known to workerd alone, so the preflight tells. */
export function parseCompatibilityFlags(flags: ReadonlyArray<string> | null | undefined): string[] {
  for (const flag of flags ?? []) {
    if (/^[a-z0-9_]{1,100}$/.test(flag)) continue;
    throw new ControlPlaneError(
      "invalid_compatibility",
      `The compatibility flag '${flag.slice(0, 100)}' is not of the form a_b_c`,
    );
  }
  return [...new Set(flags)];
}

/** A day of the calendar: February 30th is none. */
function isDate(text: string): boolean {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(text)) return false;
  const time = Date.parse(`${text}T00:00:00Z`);
  return !Number.isNaN(time) && new Date(time).toISOString().startsWith(text);
}
