import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Key, type KvEntry, type KvOperation, type KvRecord } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { NamespaceId, Revision } from "../names.ts";
import { ManualClock } from "../test-support/manual-clock.ts";
import type { EntriesPage, KvOrigin } from "./origin.ts";

/** A place where one origin keeps its data, for one test. */
export interface OriginPlace {
  /** Opens the origin of this place; called again, after a close, it finds the same data. */
  open(clock: ManualClock): Promise<KvOrigin>;
  /** Removes the data. */
  remove(): Promise<void>;
}

const NAMESPACE = NamespaceId.parse("1".repeat(32));
const OTHER = NamespaceId.parse("2".repeat(32));
const MISSING = NamespaceId.parse("3".repeat(32));

function put(key: string, text: string, expiresAt?: number): KvOperation {
  const value = { kind: "inline", bytes: Buffer.from(text) } as const;
  const expiry = expiresAt === undefined ? {} : { expiresAt };
  return { kind: "put", key: Key.parse(key), value, metadata: `{"of":"${key}"}`, ...expiry };
}

function remove(key: string): KvOperation {
  return { kind: "delete", key: Key.parse(key) };
}

function textOf(entry: KvEntry | undefined): string | undefined {
  return entry?.value.kind === "inline" ? Buffer.from(entry.value.bytes).toString() : undefined;
}

/** What every origin promises; see `KvOrigin`. */
export function describeOrigin(
  name: string,
  { createPlace }: { readonly createPlace: () => Promise<OriginPlace> },
): void {
  describe(`origin: ${name}`, () => {
    let clock: ManualClock;
    let place: OriginPlace;
    let origin: KvOrigin;

    beforeEach(async () => {
      clock = new ManualClock();
      place = await createPlace();
      origin = await place.open(clock);
      await origin.createNamespace(NAMESPACE);
    });
    afterEach(async () => {
      await origin.close();
      await place.remove();
    });

    const nowSeconds = (): number => Math.floor(clock.nowMs() / 1_000);

    async function recordsAfter(after: number): Promise<ReadonlyArray<KvRecord>> {
      const page = await origin.readLog(NAMESPACE, Revision.parse(after));
      if (page.kind === "truncated") throw new Error(`the log does not reach back to ${after}`);
      return page.records;
    }

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

    test("write: a put is read back whole, a delete makes it absent", async () => {
      const expiresAt = nowSeconds() + 60;
      const value = { kind: "blob", hash: "ab".repeat(32), size: 70_000 } as const;
      await origin.write(NAMESPACE, [{ kind: "put", key: Key.parse("b"), value, expiresAt }]);
      await origin.write(NAMESPACE, [put("i", "text")]);
      expect(await origin.get(NAMESPACE, "b")).toEqual({ key: "b", value, expiresAt });
      const entry = await origin.get(NAMESPACE, "i");
      expect([textOf(entry), entry?.metadata]).toEqual(["text", '{"of":"i"}']);
      await origin.write(NAMESPACE, [remove("i")]);
      expect(await origin.get(NAMESPACE, "i")).toBeUndefined();
    });

    test("write: an overwrite replaces value, metadata and expiry", async () => {
      await origin.write(NAMESPACE, [put("k", "1", nowSeconds() + 60)]);
      const value = { kind: "inline", bytes: Buffer.from("2") } as const;
      await origin.write(NAMESPACE, [{ kind: "put", key: Key.parse("k"), value }]);
      const entry = await origin.get(NAMESPACE, "k");
      expect([textOf(entry), entry?.metadata, entry?.expiresAt]).toEqual([
        "2",
        undefined,
        undefined,
      ]);
    });

    test("write: each operation has its own revision, without gaps, also when writers are many", async () => {
      const writes = Array.from({ length: 50 }, (_, index) =>
        origin.write(NAMESPACE, [put(`k${index}`, "a"), remove(`k${index}`)]),
      );
      const revisions = await Promise.all(writes);
      expect(revisions.toSorted((a, b) => a - b)).toEqual(
        Array.from({ length: 50 }, (_, index) => 2 * (index + 1)),
      );
      const records = await recordsAfter(0);
      expect(records.map(({ revision }) => revision)).toEqual(
        Array.from({ length: 100 }, (_, index) => index + 1),
      );
      expect(await origin.revision(NAMESPACE)).toBe(100);
    });

    test("write: later operations of one call win over earlier ones", async () => {
      await origin.write(NAMESPACE, [put("k", "1"), remove("k"), put("k", "3")]);
      expect(textOf(await origin.get(NAMESPACE, "k"))).toBe("3");
    });

    test("write: namespaces count for themselves", async () => {
      await origin.createNamespace(OTHER);
      await origin.write(NAMESPACE, [put("k", "1")]);
      expect(await origin.write(OTHER, [put("k", "other")])).toBe(1);
      expect(textOf(await origin.get(NAMESPACE, "k"))).toBe("1");
    });

    test("write: one that fails does not take down the others of its commit", async () => {
      const [missing, good] = await Promise.allSettled([
        origin.write(MISSING, [put("k", "1")]),
        origin.write(NAMESPACE, [put("k", "1")]),
      ]);
      expect(missing).toMatchObject({ reason: { code: "namespace_not_found" } });
      expect(good).toMatchObject({ value: 1 });
    });

    test("write: a reopened origin has everything that was acknowledged", async () => {
      await origin.write(NAMESPACE, [put("k", "kept")]);
      await origin.close();
      origin = await place.open(clock);
      expect(textOf(await origin.get(NAMESPACE, "k"))).toBe("kept");
      expect(await origin.write(NAMESPACE, [put("k", "next")])).toBe(2);
    });

    test("list: goes by UTF-8 byte order, not by UTF-16", async () => {
      // U+10000 sorts behind U+FFFD in UTF-8, and before it in UTF-16.
      await origin.write(
        NAMESPACE,
        ["\u{10000}", "\ufffd", "z", "a", "é"].map((k) => put(k, "")),
      );
      expect(await keysOf()).toEqual(["a", "z", "é", "\ufffd", "\u{10000}"]);
    });

    test("list: holds to the prefix and goes on behind the cursor", async () => {
      const keys = ["a", "p", "p/1", "p/2", "p/3", "p0", "q"];
      await origin.write(
        NAMESPACE,
        keys.map((key) => put(key, "")),
      );
      expect(await keysOf("p/")).toEqual(["p/1", "p/2", "p/3"]);
      const first = await origin.list(NAMESPACE, { prefix: "p/", limit: 2 });
      expect(first.entries.map(({ key }) => key)).toEqual(["p/1", "p/2"]);
      const { cursor = "" } = first;
      const second = await origin.list(NAMESPACE, { prefix: "p/", limit: 2, cursor });
      expect(second.entries).toEqual([{ key: "p/3", metadata: '{"of":"p/3"}' }]);
      expect(second.cursor).toBeUndefined();
    });

    test("list: a page that is exactly full and last has no cursor", async () => {
      await origin.write(NAMESPACE, [put("a", ""), put("b", "")]);
      const page = await origin.list(NAMESPACE, { prefix: "", limit: 2 });
      expect([page.entries.length, page.cursor]).toEqual([2, undefined]);
    });

    test("list: what is no cursor, or another prefix's, is refused", async () => {
      await origin.write(NAMESPACE, [put("a1", ""), put("a2", "")]);
      const { cursor = "" } = await origin.list(NAMESPACE, { prefix: "a", limit: 1 });
      for (const [prefix, wrong] of [
        ["b", cursor],
        ["a", "nonsense"],
        ["a", ""],
        ["a", `${cursor}!`],
      ] as const) {
        await expect(
          origin.list(NAMESPACE, { prefix, limit: 1, cursor: wrong }),
        ).rejects.toMatchObject({ code: "cursor_invalid" });
      }
    });

    test("expiry: an entry is there until its second begins, and gone from then on", async () => {
      const expiresAt = nowSeconds() + 60;
      await origin.write(NAMESPACE, [put("k", "1", expiresAt)]);
      clock.advance(expiresAt * 1_000 - clock.nowMs() - 1);
      expect(textOf(await origin.get(NAMESPACE, "k"))).toBe("1");
      expect(await keysOf()).toEqual(["k"]);
      clock.advance(1);
      expect(await origin.get(NAMESPACE, "k")).toBeUndefined();
      expect(await keysOf()).toEqual([]);
    });

    test("expiry: a sweep turns what expired into deletes of the log, and nothing else", async () => {
      const expiresAt = nowSeconds() + 60;
      await origin.write(NAMESPACE, [put("due", "1", expiresAt), put("later", "1", expiresAt + 1)]);
      await origin.write(NAMESPACE, [put("again", "1", expiresAt), put("again", "2")]);
      expect(await origin.expire(expiresAt - 1)).toBe(0);
      expect(await origin.expire(expiresAt)).toBe(1);
      expect(await recordsAfter(4)).toEqual([{ revision: 5, operation: remove("due") }]);
      expect(await origin.expire(expiresAt)).toBe(0);
    });

    test("log: goes on behind a revision, page by page, and ends empty", async () => {
      const operations = Array.from({ length: LIMITS.logPageRecordsMax + 1 }, (_, index) =>
        remove(`k${index}`),
      );
      await origin.write(NAMESPACE, operations);
      const first = await recordsAfter(0);
      expect(first).toHaveLength(LIMITS.logPageRecordsMax);
      expect(await recordsAfter(first.length)).toEqual([
        { revision: first.length + 1, operation: operations.at(-1) },
      ]);
      expect(await recordsAfter(first.length + 1)).toEqual([]);
    });

    test("log: a page of large records ends by its bytes", async () => {
      const text = "x".repeat(LIMITS.inlineValueBytesMax);
      await origin.write(
        NAMESPACE,
        Array.from({ length: 20 }, (_, index) => put(`${index}`, text)),
      );
      const first = await recordsAfter(0);
      expect(first.length).toBeGreaterThan(0);
      expect(first.length).toBeLessThan(20);
    });

    test("log: behind its horizon, and for a revision that never was, it says so", async () => {
      const batch = Array.from({ length: 1_000 }, (_, index) => remove(`k${index}`));
      for (let count = 0; count < LIMITS.logRecordsMax + 1_000; count += batch.length) {
        await origin.write(NAMESPACE, batch);
      }
      const revision = await origin.revision(NAMESPACE);
      for (const after of [0, revision + 1]) {
        const page = await origin.readLog(NAMESPACE, Revision.parse(after));
        expect(page).toEqual({ kind: "truncated" });
      }
      expect(await recordsAfter(revision - 10)).toHaveLength(10);
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
      for (const { operation } of await recordsAfter(pages[0]?.revision ?? 0)) {
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
      expect(await origin.readEntries(NAMESPACE, null)).toEqual({ revision: 2, entries: [] });
    });

    test("entries: what has expired and was not swept is among them, as in the log", async () => {
      const expiresAt = nowSeconds() + 60;
      await origin.write(NAMESPACE, [put("k", "1", expiresAt)]);
      clock.advance(120_000);
      const { entries } = await origin.readEntries(NAMESPACE, null);
      expect(entries).toMatchObject([{ key: "k", expiresAt }]);
    });

    test("log: while entries are being read it is kept past its count, and for some time after", async () => {
      const writeMany = async (): Promise<void> => {
        const batch = Array.from({ length: 1_000 }, (_, index) => remove(`k${index}`));
        for (let count = 0; count < LIMITS.logRecordsMax + 2_000; count += batch.length) {
          await origin.write(NAMESPACE, batch);
        }
      };
      await origin.write(NAMESPACE, [put("k", "1")]);
      const { revision } = await origin.readEntries(NAMESPACE, null);
      await writeMany();
      clock.advance(LIMITS.logHoldMs - 1);
      // Reading the log on is a sign of life, too.
      expect(await recordsAfter(revision)).not.toEqual([]);
      clock.advance(LIMITS.logHoldMs - 1);
      await writeMany();
      expect(await recordsAfter(revision)).not.toEqual([]);
      // An origin may hold it for longer, so as not to note each page that is read.
      clock.advance(2 * LIMITS.logHoldMs);
      // It comes back to its count by and by, so that no commit takes long.
      await writeMany();
      await writeMany();
      const latest = await origin.revision(NAMESPACE);
      const late = latest - LIMITS.logRecordsMax - LIMITS.logTrimRecordsMin;
      await expect(recordsAfter(late)).rejects.toThrow("does not reach back");
    });

    test("log: while entries are being read it is still bounded by its bytes", async () => {
      await origin.readEntries(NAMESPACE, null);
      const text = "x".repeat(LIMITS.inlineValueBytesMax);
      const batch = Array.from({ length: 100 }, () => put("k", text));
      for (let bytes = 0; bytes <= LIMITS.logBytesMax; bytes += batch.length * text.length) {
        await origin.write(NAMESPACE, batch);
      }
      await expect(recordsAfter(0)).rejects.toThrow("does not reach back");
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
      await origin.expire(nowSeconds() + 60);
      expect(heard).toEqual(await recordsAfter(0));
      expect(heard.map(({ revision }) => revision)).toEqual([1, 2, 3]);
      stop();
      await origin.write(NAMESPACE, [put("c", "3")]);
      expect(heard).toHaveLength(3);
    });

    test("namespaces: creating one again keeps it, deleting it forgets everything", async () => {
      await origin.write(NAMESPACE, [put("k", "1")]);
      await origin.createNamespace(NAMESPACE);
      expect(await keysOf()).toEqual(["k"]);
      await origin.deleteNamespace(NAMESPACE);
      await origin.deleteNamespace(NAMESPACE);
      await expect(origin.get(NAMESPACE, "k")).rejects.toMatchObject({
        code: "namespace_not_found",
      });
      await origin.createNamespace(NAMESPACE);
      expect([await origin.revision(NAMESPACE), await keysOf()]).toEqual([0, []]);
    });

    test("namespaces: every call on one that does not exist is refused", async () => {
      const zero = Revision.parse(0);
      for (const call of [
        () => origin.write(MISSING, [put("k", "1")]),
        () => origin.get(MISSING, "k"),
        () => origin.list(MISSING, { prefix: "", limit: 1 }),
        () => origin.revision(MISSING),
        () => origin.readLog(MISSING, zero),
        () => origin.readEntries(MISSING, null),
      ]) {
        await expect(call()).rejects.toMatchObject({ code: "namespace_not_found" });
      }
    });

    test("close: rejects what was not acknowledged and every later call, and may come twice", async () => {
      const pending = Promise.allSettled([origin.write(NAMESPACE, [put("k", "1")])]);
      await origin.close();
      await origin.close();
      expect(await pending).toMatchObject([{ reason: { code: "closed", retryable: true } }]);
      await expect(origin.get(NAMESPACE, "k")).rejects.toMatchObject({ code: "closed" });
      await expect(origin.write(NAMESPACE, [])).rejects.toMatchObject({ code: "closed" });
    });
  });
}
