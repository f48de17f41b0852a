import type { Key, KvEntry } from "../entry.ts";
import type { NamespaceId, Revision } from "../names.ts";
import type { EarlierEntry, ManagedOrigin } from "../origin/administration.ts";

/**
 * The entries that a namespace had at a revision at which a transaction ended, by ascending UTF-8 key order,
 * expired ones included; whatever is written meanwhile. No more than two pages are in memory. Fails with
 * `moment_unknown` when the log leaves the revision behind before the end.
 *
 * Each page of entries is as of its own moment. What was written to since the revision is read after it, so
 * it has all that the page may show of later writes, and what it says of those keys counts.
 */
export async function* entriesAt(
  origin: ManagedOrigin,
  namespace: NamespaceId,
  at: Revision,
): AsyncGenerator<KvEntry> {
  for (let after: Key | null = null; ;) {
    const { entries } = await origin.readEntries(namespace, after);
    const through = entries.at(-1)?.key ?? null;
    const earlier = earlierEntries(origin, namespace, { at, after, through });
    yield* overlaid(entries, earlier);
    if (through === null) return;
    after = through;
  }
}

/** What the keys behind `after`, up to `through` or to the end, held at a revision if they were written to since. */
async function* earlierEntries(
  origin: ManagedOrigin,
  namespace: NamespaceId,
  range: { readonly at: Revision; readonly after: Key | null; readonly through: Key | null },
): AsyncGenerator<EarlierEntry> {
  const { at, through } = range;
  for (let { after } = range; ;) {
    const page = await origin.administration.readEarlier(namespace, at, after);
    for (const earlier of page) {
      if (through !== null && compareKeys(earlier.key, through) > 0) return;
      yield earlier;
    }
    const last = page.at(-1);
    if (last === undefined) return;
    after = last.key;
  }
}

/** Both in the order of their keys: where there is an earlier entry, it counts. */
async function* overlaid(
  entries: ReadonlyArray<KvEntry>,
  earlier: AsyncIterable<EarlierEntry>,
): AsyncGenerator<KvEntry> {
  let index = 0;
  for await (const { key, entry } of earlier) {
    for (let next = entries[index]; next !== undefined; next = entries[index]) {
      const order = compareKeys(next.key, key);
      if (order > 0) break;
      if (order < 0) yield next;
      index += 1;
    }
    if (entry !== undefined) yield entry;
  }
  yield* entries.slice(index);
}

/** In the order of their UTF-8 bytes, which is not that of JavaScript. */
function compareKeys(left: string, right: string): number {
  return Buffer.compare(Buffer.from(left, "utf8"), Buffer.from(right, "utf8"));
}
