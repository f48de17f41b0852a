import type { FleetStatus } from "@atoll/control-plane";

/**
 * Where a worker answers: a line for each node and each route that begins on a fixed host. Routes with a
 * wildcard host are named as they are.
 */
export function describeUrls(status: FleetStatus, workerName: string): ReadonlyArray<string> {
  const worker = status.workers.find(({ name }) => name === workerName);
  return (worker?.routes ?? []).flatMap((route) => {
    const [host = "", ...path] = route.replace(/\*$/, "").split("/");
    if (host.includes("*")) return [`  ${route}`];
    return status.nodes.flatMap(({ region, url }) => {
      if (url === undefined) return [];
      const { protocol, port } = new URL(url);
      return [`  ${region.padEnd(5)} ${protocol}//${host}:${port}/${path.join("/")}`];
    });
  });
}
