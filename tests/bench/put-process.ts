// The process behind `kv-put`: writes to an origin in the directory that it is given, by many writers and by one in turn,
// and answers with the writes per second of each round.
import { openOrigin, NAMESPACE, putOf, valueOf } from "./kv-place.ts";
import type { KvOperation } from "@atoll/kv-store";
import type { PutPlan, PutRates } from "./put-rates.ts";

const { directory, writers, rounds, roundMs, valueBytes } = JSON.parse(
  process.argv[2] ?? "",
) as PutPlan; // written by `measurePuts`
const KEYS_PER_WRITER = 1_000;

await using resources = new AsyncDisposableStack();
const origin = await openOrigin(resources, directory);
// Made before: what is measured is the origin, not how its callers make what they write.
const puts = Array.from({ length: writers }, (_, writer) =>
  Array.from({ length: KEYS_PER_WRITER }, (_, key) =>
    putOf(`writer/${writer}/${key}`, valueOf(writer * KEYS_PER_WRITER + key, valueBytes)),
  ),
);
const rates: Array<{ readonly shared: number; readonly single: number }> = [];
// The first round compiles code: it is no sample.
for (let round = 0; round <= rounds; round += 1) {
  const shared = await writesPerSecond(puts);
  const single = await writesPerSecond(puts.slice(0, 1));
  if (round > 0) rates.push({ shared, single });
}
process.send?.(rates satisfies PutRates);

/** Of a writer for each list of puts, which makes one after the other, over and over. */
async function writesPerSecond(lists: ReadonlyArray<ReadonlyArray<KvOperation>>): Promise<number> {
  const startedAt = performance.now();
  const endsAt = startedAt + roundMs;
  let count = 0;
  const write = async (own: ReadonlyArray<KvOperation>): Promise<void> => {
    while (performance.now() < endsAt) {
      const put = own[count % own.length];
      if (put !== undefined) await origin.write(NAMESPACE, [put]);
      count += 1;
    }
  };
  await Promise.all(lists.map(write));
  return count / ((performance.now() - startedAt) / 1_000);
}
