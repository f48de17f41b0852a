import { expect, test } from "vitest";
import { findFreePorts } from "./support/free-ports.ts";

test("free ports: nobody gets what another one was given and has not bound yet", async () => {
  const given = new Set<number>();
  for (let count = 0; count < 200; count += 1) {
    const first = await findFreePorts(4);
    for (let port = first; port < first + 4; port += 1) given.add(port);
  }
  expect(given.size).toBe(800);
});
