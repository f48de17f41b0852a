import { defineConfig } from "vitest/config";

// Deadlines are for hangs, not for speed: real processes on a shared machine take the time that they get.
const PATIENT = {
  testTimeout: 60_000,
  hookTimeout: 60_000,
  expect: { poll: { timeout: 45_000, interval: 5 } },
};

// All of the control plane once more, on its other database: takes minutes, so it is for a thorough run.
const POSTGRES = {
  test: {
    name: "postgres",
    include: ["control-plane/**/*.test.ts"],
    // A backup, or a move, is of the embedded database; a server has its own ways.
    exclude: ["**/node_modules/**", "control-plane/src/{backup,move}/**"],
    globalSetup: "control-plane/src/test-support/postgres-run.ts",
    ...PATIENT,
    // Ten thousand changes in a row, or calls, each of which waits for a server.
    testTimeout: 120_000,
  },
};

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: [
            "{kv-store,control-plane,edge-runtime,sites,cli,scripts}/**/*.test.ts",
            "tests/{*,bench/*,kv-history/*}.test.ts",
          ],
          ...PATIENT,
        },
      },
      ...(process.env["ATOLL_THOROUGH"] === undefined ? [] : [POSTGRES]),
      {
        test: {
          name: "integration",
          include: ["tests/{integration,scenarios,acceptance}/**/*.test.ts"],
          ...PATIENT,
          // A test runs up to some twenty programs, one after the other.
          testTimeout: 300_000,
          hookTimeout: 300_000,
        },
      },
    ],
    // Two cores: more workers than this only make real processes miss their deadlines.
    maxWorkers: 2,
  },
});
