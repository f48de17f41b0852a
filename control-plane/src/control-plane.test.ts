import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SqliteOrigin } from "@atoll/kv-store";
import { pino } from "pino";
import { expect, test } from "vitest";
import { createControlPlane } from "./control-plane.ts";
import { ScriptedPreflight } from "./test-support/scripted-preflight.ts";
import { TestClock } from "./test-support/test-clock.ts";

/** Knows what was begun with it, and has not ended. */
class CountedClock extends TestClock {
  count = 0;

  override every(): () => void {
    let isGoing = true;
    this.count += 1;
    return () => {
      if (isGoing) this.count -= 1;
      isGoing = false;
    };
  }
}

test("control plane: of one that can't listen nothing goes on", async () => {
  const directory = await mkdtemp(join(tmpdir(), "atoll-control-plane-"));
  const taken = createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
  const { port } = taken.address() as AddressInfo;
  const [clock, log] = [new CountedClock(), pino({ level: "silent" })];
  const origin = SqliteOrigin.open({ path: join(directory, "kv.sqlite"), clock, log });
  const before = clock.count;
  try {
    const creating = createControlPlane({
      dataDirectory: directory,
      ...{ host: "127.0.0.1", port, baseDomain: "atoll.test", publicIngressPort: 4401 },
      ...{ environmentFile: "wrangler.env", masterKey: undefined },
      ...{ preflight: new ScriptedPreflight(), kvOrigin: origin, log, clock },
    });
    await expect(creating).rejects.toMatchObject({ code: "EADDRINUSE" });
    expect(clock.count).toBe(before);
  } finally {
    taken.close();
    await origin.close();
    await rm(directory, { recursive: true });
  }
});
