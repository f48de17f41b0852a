import { z } from "zod";
import { LIMITS } from "../limits.ts";

/**
 * Any JSON that was read from a body, of at most `LIMITS.jsonLevelsMax` levels. It is looked through without
 * recursion: schemas, and whoever writes it as text again, would run out of stack on what is deeper.
 */
export const BoundedJson = z.custom<z.core.util.JSONType>(isShallow, {
  error: `deeper than ${LIMITS.jsonLevelsMax} levels`,
  // Rules that follow may write it as text.
  abort: true,
});

function isShallow(value: unknown): boolean {
  let level = [value].filter(isNesting);
  for (let depth = 0; depth <= LIMITS.jsonLevelsMax; depth += 1) {
    if (level.length === 0) return true;
    level = level.flatMap((item) => Object.values(item) as unknown[]).filter(isNesting);
  }
  return false;
}

function isNesting(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}
