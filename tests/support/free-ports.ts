import { createServer } from "node:net";

// Below the range that the kernel gives to outgoing connections, so that none of them takes our ports.
const FIRST_PORT = 10_000;
const LAST_PORT = 30_000;
// A whole Atoll takes seconds to bind what was found for it. Files that run at once look in shares of their own, which
// vitest numbers, and within a file nothing is given twice.
const SHARES = 8;
const SHARE_PORTS = (LAST_PORT - FIRST_PORT) / SHARES;
const share = Number(process.env["VITEST_POOL_ID"] ?? 0) % SHARES;
const given = new Set<number>();

/** A number that starts `count` free ports in a row on the loopback address. Nobody else here is given them. */
export async function findFreePorts(count: number): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const place = Math.floor(Math.random() * (SHARE_PORTS - count));
    const first = FIRST_PORT + share * SHARE_PORTS + place;
    const ports = Array.from({ length: count }, (_, index) => first + index);
    if (ports.some((port) => given.has(port))) continue;
    for (const port of ports) given.add(port);
    const free = await Promise.all(ports.map(isFree));
    if (free.every(Boolean)) return first;
  }
  throw new Error(`found no ${count} free ports in a row`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
