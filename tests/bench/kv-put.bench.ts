import type { KvOperation, SqliteOrigin } from "@atoll/kv-store";
import type { Benchmark, Outcome } from "./benchmark.ts";
import { NAMESPACE, openOrigin, putOf, temporaryDirectory, valueOf } from "./kv-place.ts";
import { median } from "./statistics.ts";

const WRITERS = 64;
const ROUNDS = 10;
const ROUND_MS = 500;
const VALUE_BYTES = 288;
const KEYS_PER_WRITER = 1_000;
// What group commit has to bring.
const RATIO_MIN = 10;

/** Acknowledged writes per second: of many writers, which share commits, and of one, which pays for each. */
export const kvPut: Benchmark = {
  name: "kv-put",
  subject: `acknowledged writes of ${VALUE_BYTES} bytes: ${WRITERS} writers, beside one fsync for each write`,
  run: async (resources): Promise<Outcome> => {
    const origin = await openOrigin(resources, await temporaryDirectory(resources));
    // Made before: what is measured is the origin, not how its callers make what they write.
    const puts = Array.from({ length: WRITERS }, (_, writer) =>
      Array.from({ length: KEYS_PER_WRITER }, (_, key) =>
        putOf(`writer/${writer}/${key}`, valueOf(writer * KEYS_PER_WRITER + key, VALUE_BYTES)),
      ),
    );
    const samples = { shared: [] as number[], single: [] as number[] };
    // The first round compiles code: it is no sample.
    for (let round = 0; round <= ROUNDS; round += 1) {
      const shared = await writesPerSecond(origin, puts);
      const single = await writesPerSecond(origin, puts.slice(0, 1));
      if (round === 0) continue;
      samples.shared.push(shared);
      samples.single.push(single);
    }
    const ratios = samples.shared.map((shared, round) => shared / (samples.single[round] ?? 0));
    return {
      settings: { writers: WRITERS, rounds: ROUNDS, roundMs: ROUND_MS, valueBytes: VALUE_BYTES },
      figures: [
        { name: `put, ${WRITERS} writers, p50`, value: median(samples.shared), unit: "requests/s" },
        {
          name: "put, one fsync for each, p50",
          value: median(samples.single),
          unit: "requests/s",
        },
        {
          name: `${WRITERS} writers / one fsync for each, p50`,
          value: median(ratios),
          unit: "×",
          atLeast: RATIO_MIN,
        },
      ],
      samples,
    };
  },
};

/** Of a writer for each list of puts, which makes one after the other, over and over. */
async function writesPerSecond(
  origin: SqliteOrigin,
  puts: ReadonlyArray<ReadonlyArray<KvOperation>>,
): Promise<number> {
  const startedAt = performance.now();
  const endsAt = startedAt + ROUND_MS;
  let count = 0;
  const write = async (own: ReadonlyArray<KvOperation>): Promise<void> => {
    while (performance.now() < endsAt) {
      const put = own[count % own.length];
      if (put !== undefined) await origin.write(NAMESPACE, [put]);
      count += 1;
    }
  };
  await Promise.all(puts.map(write));
  return count / ((performance.now() - startedAt) / 1_000);
}
