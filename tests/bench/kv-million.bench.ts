import { join } from "node:path";
import type { Benchmark, Outcome } from "./benchmark.ts";
import { fill, keyName, openOrigin, temporaryDirectory } from "./kv-place.ts";
import { ReplicaProcess, serveOrigin } from "./replica-processes.ts";
import { median, percentile } from "./statistics.ts";

const KEYS = 1_000_000;
const VALUE_BYTES = 288;
const BOOTSTRAP_S_MAX = 60;
const BOOTSTRAP_MB_MAX = 200;
const MEMORY_MB_MAX = 250;
const LISTED = 1_000;
const LISTINGS = 500;
const LIST_MS_MAX = 10;
// Spread over all, so that most of the file has been looked at.
const READS = 100_000;

/** A node that begins with a namespace of a million keys, and has it then. */
export const kvMillion: Benchmark = {
  name: "kv-million",
  subject: `a new node and ${KEYS} keys of ${VALUE_BYTES} bytes: until it has them, its memory, and listings`,
  run: async (resources): Promise<Outcome> => {
    const directory = await temporaryDirectory(resources);
    const origin = await openOrigin(resources, directory);
    await fill(origin, { keys: KEYS, valueBytes: VALUE_BYTES });
    const url = await serveOrigin(resources, origin);
    const startedAt = performance.now();
    const node = await ReplicaProcess.start(resources, {
      directory: join(directory, "node"),
      url,
      replicas: 1,
    });
    const bootstrapS = (performance.now() - startedAt) / 1_000;
    const bootstrapMb = node.peakMb;
    const step = KEYS / READS;
    const names = Array.from({ length: READS }, (_, index) => keyName(index * step));
    const found = await node.ask({ kind: "read", names });
    if (found !== READS) throw new Error(`of ${READS} keys there are ${found}`);
    // A thousand names share each prefix, which are listed in an order that is not theirs.
    const prefixes = Array.from({ length: LISTINGS }, (_, index) =>
      keyName(((index * 617) % (KEYS / LISTED)) * LISTED).slice(0, -3),
    );
    const listMs = await node.ask({ kind: "list", prefixes, limit: LISTED });
    const { privateMb, fileMb } = await node.memory();
    return {
      settings: { keys: KEYS, valueBytes: VALUE_BYTES, reads: READS, listings: LISTINGS },
      figures: [
        {
          name: "start of the process to all keys",
          value: bootstrapS,
          unit: "s",
          atMost: BOOTSTRAP_S_MAX,
        },
        {
          name: "private memory meanwhile, at most",
          value: bootstrapMb,
          unit: "MB",
          atMost: BOOTSTRAP_MB_MAX,
        },
        {
          name: "private memory with all keys, after reads",
          value: privateMb,
          unit: "MB",
          atMost: MEMORY_MB_MAX,
        },
        { name: "pages of files that are mapped beside that", value: fileMb, unit: "MB" },
        { name: `list of ${LISTED} by prefix, p50`, value: median(listMs), unit: "ms" },
        {
          name: `list of ${LISTED} by prefix, p99`,
          value: percentile(listMs, 0.99),
          unit: "ms",
          atMost: LIST_MS_MAX,
        },
      ],
      samples: { listMs },
    };
  },
};
