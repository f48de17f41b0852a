// `npm run fuzz`: requests and link messages made from the OpenAPI document, right, nearly right and hostile, to a
// real control plane, whose answers are held against the same document; then its installation is checked.
import { parseArgs } from "node:util";
import { PostgresServer } from "@atoll/kv-store/test-support/postgres-server";
import { checkInstallation } from "@atoll/control-plane/test-support/installation-check";
import { ControlPlaneProcess } from "../support/control-plane-process.ts";
import { runFuzz } from "./fuzz-run.ts";

const USAGE = "npm run fuzz -- [--requests <count>] [--seed <seed>] [--postgres]";

const { values } = parseArgs({
  options: {
    requests: { type: "string", default: "100000" },
    seed: { type: "string" },
    postgres: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  console.log(USAGE);
  process.exit(0);
}
const seed = values.seed === undefined ? Date.now() % 1_000_000 : integer(values.seed);
const requests = integer(values.requests);
console.log(`${requests} requests, seed ${seed}`);
const postgres = values.postgres ? await PostgresServer.start() : undefined;
const databaseUrl = postgres?.url(await postgres.createDatabase());
const plane = await ControlPlaneProcess.start({
  isInspected: true,
  ...(databaseUrl === undefined ? {} : { databaseUrl }),
});
try {
  const { findings, ...figures } = await runFuzz({
    ...{ plane, requests, seed },
    onProgress: console.log,
  });
  console.log(JSON.stringify(figures));
  const half = await checkInstallation(plane);
  for (const finding of half) console.error(`✘ ${finding}`);
  console.log(`${findings.length + half.length} findings`);
  process.exitCode = findings.length + half.length === 0 ? 0 : 1;
} finally {
  await plane.stop();
  await postgres?.remove();
}

function integer(text: string): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number >= 0) return number;
  console.error(`${text} is no count and no seed\n\n${USAGE}`);
  return process.exit(2);
}
