import { PostgresServer } from "@atoll/kv-store/test-support/postgres-server";
import { checkInstallation } from "@atoll/control-plane/test-support/installation-check";
import { afterEach, expect, test } from "vitest";
import { runFuzz } from "../fuzz/fuzz-run.ts";
import { uploadWorker } from "../fuzz/world.ts";
import { IS_THOROUGH } from "../support/atoll.ts";
import { ControlPlaneProcess } from "../support/control-plane-process.ts";

const REQUESTS = IS_THOROUGH ? 100_000 : 1_000;
const ENGINES = IS_THOROUGH ? (["SQLite", "PostgreSQL"] as const) : (["SQLite"] as const);
const SEED = Number(process.env["ATOLL_SEED"] ?? Date.now() % 100_000);
const MIB = 1024 * 1024;
// What fills with use and has a bound: prepared statements, tokens that are counted, open tails.
const GROWTH_BYTES_MAX = 16 * MIB;

let plane: ControlPlaneProcess;
let postgres: PostgresServer | undefined;
afterEach(async () => {
  await plane.stop();
  await postgres?.remove();
  postgres = undefined;
});

async function start(engine: (typeof ENGINES)[number]): Promise<ControlPlaneProcess> {
  if (engine === "SQLite") return ControlPlaneProcess.start({ isInspected: true });
  postgres = await PostgresServer.start();
  const databaseUrl = postgres.url(await postgres.createDatabase());
  return ControlPlaneProcess.start({ isInspected: true, databaseUrl });
}

// Replay: `npm run fuzz -- --requests <count> --seed <seed>`.
test.each(ENGINES)(
  `fuzzing with %s: ${REQUESTS} right, nearly right and hostile requests (seed ${SEED})`,
  { timeout: 4 * 3_600_000 },
  async (engine) => {
    plane = await start(engine);
    const report = await runFuzz({ plane, requests: REQUESTS, seed: SEED });
    expect(report.findings).toEqual([]);
    expect(report.statuses["200"]).toBeGreaterThan(REQUESTS / 20);
    const { early, end } = report.heapBytes;
    expect(end - early, "growth of the heap").toBeLessThan(GROWTH_BYTES_MAX);
    await uploadWorker(plane, "afterwards");
    expect(await checkInstallation(plane)).toEqual([]);
    expect(plane.isRunning).toBe(true);
  },
);
