import { createServer } from "node:net";
import { UsageError } from "../settings.ts";

/**
 * Resolves when every port is free on the loopback address; throws a `UsageError` that names one that isn't.
 * `variable` is what names the first of them.
 */
export async function requireFreePorts(
  variable: string,
  ports: ReadonlyArray<number>,
): Promise<void> {
  for (const port of ports) {
    if (await isFree(port)) continue;
    throw new UsageError(
      `Port ${port} of 127.0.0.1 is in use. Is another Atoll running? Stop it, or set ${variable} to the first of ${ports.length} free ports (and ATOLL_DATA to another folder, to run both).`,
    );
  }
}

/** Throws a `UsageError` that names a port which nodes would tell their metrics at and somebody else here would take. */
export function requireOtherPorts(
  metricsPorts: ReadonlyArray<number>,
  others: ReadonlySet<number>,
): void {
  const shared = metricsPorts.find((port) => others.has(port));
  if (shared === undefined) return;
  throw new UsageError(
    `ATOLL_METRICS_PORT=${metricsPorts[0]} is no good: of ${metricsPorts.length} ports from there on ${shared} is one that ATOLL_PORT gives to the control plane or a node.`,
  );
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
