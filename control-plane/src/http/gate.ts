import type { MiddlewareHandler } from "hono";
import { ControlPlaneError } from "../errors.ts";

/**
 * Lets at most `inProgressMax` requests through at once. Up to `waitingMax` more wait for their turn, with
 * their bodies unread; past that a request is refused as `busy`.
 */
export function limitConcurrency(bounds: {
  readonly inProgressMax: number;
  readonly waitingMax: number;
}): MiddlewareHandler {
  let inProgress = 0;
  const waiting: Array<() => void> = [];
  return async (_context, next) => {
    if (inProgress >= bounds.inProgressMax) {
      if (waiting.length >= bounds.waitingMax) {
        throw new ControlPlaneError(
          "busy",
          `${waiting.length} uploads are waiting already: try again soon`,
        );
      }
      // Whoever finishes hands its place over, so `inProgress` stays as it is.
      await new Promise<void>((resolve) => waiting.push(resolve));
    } else {
      inProgress += 1;
    }
    try {
      await next();
    } finally {
      const successor = waiting.shift();
      if (successor === undefined) inProgress -= 1;
      else successor();
    }
  };
}
