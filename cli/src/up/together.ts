import { setTimeout as wait } from "node:timers/promises";
import type { FleetStatus } from "@atoll/control-plane";
import { ZodError } from "zod";
import { RefusedError } from "../account-api.ts";
import { LOCAL_REGIONS, UsageError } from "../settings.ts";
import { fetchStatus } from "../status/status.ts";
import type { WranglerEnvironment } from "../wrangler-environment.ts";

// Starting takes seconds; what has not come together by then says why in its log.
const TOGETHER_MS = 60_000;
const POLL_MS = 50;

/** Resolves when every node is connected and runs the newest revision. */
export async function waitUntilTogether(variables: WranglerEnvironment): Promise<void> {
  const endsAt = performance.now() + TOGETHER_MS;
  let failure: unknown;
  while (performance.now() < endsAt) {
    try {
      if (isTogether(await fetchStatus(variables))) return;
      failure = undefined;
    } catch (error) {
      if (!mayPass(error)) throw error;
      failure = error;
    }
    await wait(POLL_MS);
  }
  throw new UsageError(
    `The nodes did not all connect within ${TOGETHER_MS / 1_000} s: their logs say why.`,
    { cause: failure },
  );
}

/** A control plane that is busy, or that died and is being started again, is no reason to stop everything. */
function mayPass(error: unknown): boolean {
  if (error instanceof RefusedError) return error.status >= 500;
  // Whatever else a call ends with is about its connection, unless it is an answer that is none.
  return !(error instanceof ZodError);
}

function isTogether(status: FleetStatus): boolean {
  const current = status.nodes.filter(
    (node) => node.connected && node.revision === status.revision,
  );
  return LOCAL_REGIONS.every((region) => current.some((node) => node.name === region));
}
