import { describe, expect, test } from "vitest";
import type { Key, KvEntry, KvRecord } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { NamespaceId, Revision, StateDigest, type HistoryPoint } from "../names.ts";
import { EMPTY_STATE } from "../state-digest.ts";
import type { ManualClock } from "../test-support/manual-clock.ts";
import { put, remove, textOf, type OriginPlace } from "../test-support/origin-place.ts";
import { BEGINNING, recordsAfter, useOrigin } from "../test-support/use-origin.ts";
import { TrackedState } from "../test-support/tracked-state.ts";
import type { EntriesPage, KvOrigin } from "./origin.ts";

const NAMESPACE = NamespaceId.parse("1".repeat(32));

/** What every origin promises to those who follow its histories; a part of `describeOrigin`. */
export function describeOriginHistory(
  name: string,
  { createPlace }: { readonly createPlace: () => Promise<OriginPlace> },
): void {
  describe(`history of origin: ${name}`, () => {
    let clock: ManualClock;
    let origin: KvOrigin;

    const { reopen } = useOrigin(createPlace, {
      namespaces: [NAMESPACE],
      onOpen: (opened) => ({ clock, origin } = opened),
    });

    const nowSeconds = (): number => Math.floor(clock.nowMs() / 1_000);

    const point = (): Promise<HistoryPoint> => origin.point(NAMESPACE);

    async function keysOf(prefix = ""): Promise<ReadonlyArray<string>> {
      const { entries } = await origin.list(NAMESPACE, { prefix, limit: LIMITS.listKeysMax });
      return entries.map(({ key }) => key);
    }

    /** All pages of entries, one after another; `between` runs after each. */
    async function readPages(
      between?: () => Promise<unknown>,
    ): Promise<ReadonlyArray<EntriesPage>> {
      const pages: EntriesPage[] = [];
      for (let after: Key | null = null; ;) {
        const page = await origin.readEntries(NAMESPACE, after);
        pages.push(page);
        after = page.entries.at(-1)?.key ?? null;
        if (after === null) return pages;
        await between?.();
      }
    }

    test("log: goes on behind a revision, page by page, and ends empty", async () => {
      const operations = Array.from({ length: LIMITS.logPageRecordsMax + 1 }, (_, index) =>
        remove(`k${index}`),
      );
      await origin.write(NAMESPACE, operations);
      const first = await recordsAfter(origin, NAMESPACE, BEGINNING);
      expect(first).toHaveLength(LIMITS.logPageRecordsMax);
      const second = await recordsAfter(origin, NAMESPACE, first.at(-1) ?? BEGINNING);
      expect(second).toEqual([{ ...(await point()), operation: operations.at(-1) }]);
      expect(await recordsAfter(origin, NAMESPACE, await point())).toEqual([]);
    });

    test("log: a page of large records ends by its bytes", async () => {
      const text = "x".repeat(LIMITS.inlineValueBytesMax);
      await origin.write(
        NAMESPACE,
        Array.from({ length: 20 }, (_, index) => put(`${index}`, text)),
      );
      const first = await recordsAfter(origin, NAMESPACE, BEGINNING);
      expect(first.length).toBeGreaterThan(0);
      expect(first.length).toBeLessThan(20);
    });

    test("log: to a reader that is far behind it says so", async () => {
      const batch = Array.from({ length: 1_000 }, (_, index) => put(`k${index}`, "x"));
      const points = [];
      for (let count = 0; count < LIMITS.logCatchUpRecordsMax + 1_000; count += batch.length) {
        await origin.write(NAMESPACE, batch);
        points.push(await point());
      }
      expect(await origin.readLog(NAMESPACE, BEGINNING)).toEqual({ kind: "truncated" });
      const start = points[0] ?? BEGINNING;
      expect(await recordsAfter(origin, NAMESPACE, start)).toHaveLength(LIMITS.logPageRecordsMax);
      const digest = StateDigest.parse("5".repeat(32));
      for (const { revision } of points) {
        const page = await origin.readLog(NAMESPACE, { revision, digest });
        expect(page).toEqual({ kind: "diverged" });
      }
    });

    test("log: behind a point that never was it says so, and not what another history did", async () => {
      await origin.write(NAMESPACE, [put("base", ""), put("w", ""), put("z", "")]);
      const other = new TrackedState();
      const agreed = other.apply([put("base", ""), put("w", "")]);
      const diverged = other.apply([put("x", "")]);
      const ahead = other.apply([put("y", "")]);
      expect(await recordsAfter(origin, NAMESPACE, agreed)).toHaveLength(1);
      for (const after of [diverged, ahead]) {
        expect(await origin.readLog(NAMESPACE, after)).toEqual({ kind: "diverged" });
      }
    });

    test("digest: each record and each page of entries has that of the state then", async () => {
      const state = new TrackedState();
      const operations = [
        put("a", "1"),
        put("b", "2", nowSeconds() + 60),
        put("a", "3"),
        remove("b"),
        remove("b"),
        put("b", "2"),
        remove("a"),
      ];
      const points = operations.map((operation) => state.apply([operation]));
      await Promise.all(operations.map((operation) => origin.write(NAMESPACE, [operation])));
      const records = await recordsAfter(origin, NAMESPACE, BEGINNING);
      expect(records.map(({ revision, digest }) => ({ revision, digest }))).toEqual(points);
      expect(await origin.readEntries(NAMESPACE, null)).toMatchObject(state.point);
      await reopen();
      expect(await point()).toEqual(state.point);
      await origin.write(NAMESPACE, [remove("b")]);
      expect((await point()).digest).toBe(EMPTY_STATE);
    });

    test("entries: each page is of its revision, and goes on behind a key", async () => {
      const keys = Array.from(
        { length: 2 * LIMITS.logPageRecordsMax },
        (_, index) => `k${String(index).padStart(4, "0")}`,
      );
      const written = keys.map((key) => put(key, "old"));
      await origin.write(NAMESPACE, written);
      const last = keys.at(-1) ?? "";
      const pages = await readPages(() => origin.write(NAMESPACE, [put(last, "new")]));
      expect(pages.map(({ revision }) => revision)).toEqual([2_000, 2_001, 2_002]);
      const entries = pages.flatMap((page) => page.entries);
      expect(entries.map(({ key }) => key)).toEqual(keys);
      expect(entries.slice(-2).map(textOf)).toEqual(["old", "new"]);
    });

    test("entries: with the log put over them they are the state as of the last page", async () => {
      const keys = Array.from({ length: 40 }, (_, index) => `k${String(index).padStart(2, "0")}`);
      const large = "x".repeat(LIMITS.inlineValueBytesMax);
      const written = keys.map((key) => put(key, large));
      await origin.write(NAMESPACE, written);
      let round = 0;
      const pages = await readPages(async () => {
        round += 1;
        // Before, in and behind what was read, as pages hold a few keys each.
        const touched = [`a${round}`, `k${String(round * 7).padStart(2, "0")}`, `z${round}`];
        await origin.write(NAMESPACE, [
          ...touched.map((key) => put(key, `${round}`)),
          remove(`k${String(40 - round).padStart(2, "0")}`),
          remove(`k0${round}`),
        ]);
      });
      expect(pages.length).toBeGreaterThan(5);
      const copied = new Map<string, KvEntry>();
      for (const { entries } of pages) for (const entry of entries) copied.set(entry.key, entry);
      for (const { operation } of await recordsAfter(origin, NAMESPACE, pages[0] ?? BEGINNING)) {
        if (operation.kind === "delete") copied.delete(operation.key);
        else copied.set(operation.key, operation as KvEntry); // a put has all that an entry has
      }
      expect([...copied.keys()].toSorted()).toEqual([...(await keysOf())].toSorted());
      for (const [key, entry] of copied) {
        expect(textOf(entry)).toBe(textOf(await origin.get(NAMESPACE, key)));
      }
    });

    test("entries: of an empty namespace there are none, as of its revision", async () => {
      await origin.write(NAMESPACE, [put("k", "1"), remove("k")]);
      const { digest } = BEGINNING;
      expect(await origin.readEntries(NAMESPACE, null)).toEqual({
        revision: 2,
        digest,
        entries: [],
      });
    });

    test("entries: what has expired and was not swept is among them, as in the log", async () => {
      const expiresAt = nowSeconds() + 60;
      await origin.write(NAMESPACE, [put("k", "1", expiresAt)]);
      clock.advance(120_000);
      const { entries } = await origin.readEntries(NAMESPACE, null);
      expect(entries).toMatchObject([{ key: "k", expiresAt }]);
    });

    test("log: while entries are being read, and for some time after, nobody is too far behind", async () => {
      const writeMany = async (): Promise<void> => {
        const batch = Array.from({ length: 1_000 }, (_, index) => remove(`k${index}`));
        for (let count = 0; count < LIMITS.logCatchUpRecordsMax + 2_000; count += batch.length) {
          await origin.write(NAMESPACE, batch);
        }
      };
      await origin.write(NAMESPACE, [put("k", "1")]);
      const start = await origin.readEntries(NAMESPACE, null);
      await writeMany();
      clock.advance(LIMITS.logHoldMs - 1);
      // Reading the log on is a sign of life, too.
      expect(await recordsAfter(origin, NAMESPACE, start)).not.toEqual([]);
      clock.advance(LIMITS.logHoldMs - 1);
      await writeMany();
      expect(await recordsAfter(origin, NAMESPACE, start)).not.toEqual([]);
      // An origin may hold it for longer, so as not to note each page that is read.
      clock.advance(2 * LIMITS.logHoldMs);
      const { revision: latest, digest } = await point();
      const late = Revision.parse(latest - LIMITS.logCatchUpRecordsMax - 1);
      await expect(recordsAfter(origin, NAMESPACE, { revision: late, digest })).rejects.toThrow(
        "truncated",
      );
    });

    test("log: while entries are being read it is still bounded by its bytes", async () => {
      await origin.readEntries(NAMESPACE, null);
      const text = "x".repeat(LIMITS.inlineValueBytesMax);
      const batch = Array.from({ length: 100 }, () => put("k", text));
      for (let bytes = 0; bytes <= LIMITS.logBytesMax; bytes += batch.length * text.length) {
        await origin.write(NAMESPACE, batch);
      }
      await expect(recordsAfter(origin, NAMESPACE, BEGINNING)).rejects.toThrow("truncated");
    });

    test("onCommit: tells every record once, in revision order, after it can be read", async () => {
      const heard: KvRecord[] = [];
      const stop = origin.onCommit((namespace, records) => {
        expect(namespace).toBe(NAMESPACE);
        heard.push(...records);
      });
      await Promise.all([
        origin.write(NAMESPACE, [put("a", "1", nowSeconds() + 60)]),
        origin.write(NAMESPACE, [put("b", "2")]),
      ]);
      clock.advance(60_000);
      await origin.expire();
      expect(heard).toEqual(await recordsAfter(origin, NAMESPACE, BEGINNING));
      expect(heard.map(({ revision }) => revision)).toEqual([1, 2, 3]);
      stop();
      await origin.write(NAMESPACE, [put("c", "3")]);
      expect(heard).toHaveLength(3);
    });
  });
}
