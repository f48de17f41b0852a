// `npm run kv-history`: clients on three real nodes read and write the same keys while processes are killed,
// and a checker looks for anything in what they were told that the store promises never to do.
import { parseArgs } from "node:util";
import { startAtoll } from "../support/atoll.ts";
import { ANOMALIES } from "./history.ts";
import { runHistory } from "./history-run.ts";

const USAGE = `npm run kv-history -- [--operations <count>] [--kills <count>] [--seed <seed>]`;
const SHOWN_MAX = 20;

const { values } = parseArgs({
  options: {
    operations: { type: "string", default: "100000" },
    kills: { type: "string", default: "8" },
    seed: { type: "string" },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  console.log(USAGE);
  process.exit(0);
}
const seed = values.seed === undefined ? Date.now() % 1_000_000 : integer(values.seed);
const operations = integer(values.operations);
const kills = integer(values.kills);
console.log(`${operations} operations, ${kills} kills, seed ${seed}`);
const startMs = performance.now();
const atoll = await startAtoll();
try {
  const report = await runHistory({ atoll, operations, kills, seed, onProgress: console.log });
  const { anomalies, ...counts } = report;
  const seconds = Math.round((performance.now() - startMs) / 1_000);
  console.log(JSON.stringify({ ...counts, seconds }));
  for (const { kind, text } of anomalies.slice(0, SHOWN_MAX)) {
    console.error(`${kind}: ${ANOMALIES[kind]}: ${text}`);
  }
  console.log(anomalies.length === 0 ? "no anomaly" : `${anomalies.length} anomalies`);
  process.exitCode = anomalies.length === 0 ? 0 : 1;
} finally {
  await atoll.stop();
}

function integer(text: string): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number >= 0) return number;
  console.error(`${text} is no count and no seed\n\n${USAGE}`);
  return process.exit(2);
}
