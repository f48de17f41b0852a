import { describe, expect, test } from "vitest";
import type { Key, KvEntry, KvOperation } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { entriesAt } from "../management/entries-at.ts";
import { checkNamespace } from "../management/namespace-check.ts";
import { restoreSome } from "../management/restore.ts";
import { NamespaceId, type Revision } from "../names.ts";
import type { ManualClock } from "../test-support/manual-clock.ts";
import { put, remove, textOf, type OriginPlace } from "../test-support/origin-place.ts";
import { useOrigin } from "../test-support/use-origin.ts";
import { Random } from "../replication/simulation/random.ts";
import type { ManagedOrigin } from "./administration.ts";

const NAMESPACE = NamespaceId.parse("1".repeat(32));
const MISSING = NamespaceId.parse("3".repeat(32));
const HOUR_MS = 60 * 60_000;
const allBlobs = { has: async () => true };

/** What every origin promises to those who look after it; a part of `describeOrigin`. */
export function describeOriginAdministration(
  name: string,
  { createPlace }: { readonly createPlace: () => Promise<OriginPlace> },
): void {
  describe(`administration of origin: ${name}`, () => {
    let clock: ManualClock;
    let origin: ManagedOrigin;

    const { reopen } = useOrigin(createPlace, {
      namespaces: [NAMESPACE],
      onOpen: (opened) => ({ clock, origin } = opened),
    });

    const write = (...operations: ReadonlyArray<KvOperation>): Promise<Revision> =>
      origin.write(NAMESPACE, operations);
    const seconds = (): number => Math.floor(clock.nowMs() / 1_000);

    async function stateAt(atMs: number): Promise<ReadonlyMap<string, KvEntry>> {
      const at = await origin.administration.revisionAt(NAMESPACE, atMs);
      const state = new Map<string, KvEntry>();
      for await (const entry of entriesAt(origin, NAMESPACE, at)) state.set(entry.key, entry);
      return state;
    }

    const textsAt = async (atMs: number): Promise<ReadonlyArray<string | undefined>> =>
      [...(await stateAt(atMs)).values()].map((entry) => `${entry.key}=${textOf(entry)}`);

    async function restore(atMs: number, isDryRun = false) {
      const options = { origin, blobs: allBlobs, namespace: NAMESPACE, atMs, isDryRun };
      const sum = { puts: 0, deletes: 0 };
      for (let after: Key | null = null; ;) {
        const part = await restoreSome({ ...options, after, nowMs: clock.nowMs() });
        sum.puts += part.puts;
        sum.deletes += part.deletes;
        if (part.next === null) return { to: part.to, ...sum };
        after = part.next;
      }
    }

    const check = (): Promise<ReadonlyArray<string>> =>
      checkNamespace({ origin, namespace: NAMESPACE, checkValue: async () => undefined });

    test("describe: counts keys and the bytes of keys, values and metadata", async () => {
      const describeIt = () => origin.administration.describe(NAMESPACE);
      expect(await describeIt()).toMatchObject({
        ...{ revision: 0, keys: 0, bytes: 0 },
        log: { records: 0, bytes: 0, startMs: clock.nowMs() },
      });
      await write(put("ä", "1234"), put("b", "1"));
      // `{"of":"ä"}` has 11 bytes, and `{"of":"b"}` 10.
      expect(await describeIt()).toMatchObject({ keys: 2, bytes: 2 + 4 + 11 + 1 + 1 + 10 });
      const hash = "ab".repeat(32);
      const value = { kind: "blob", hash, size: 70_000 } as const;
      await origin.claimValue(hash);
      await write(remove("ä"), { kind: "put", key: "b" as Key, value });
      const extent = await describeIt();
      expect(extent).toMatchObject({ revision: 4, keys: 1, bytes: 70_001 });
      expect(extent.log.records).toBe(4);
      await write(remove("b"), remove("b"));
      expect(await describeIt()).toMatchObject({ keys: 0, bytes: 0 });
      await reopen();
      expect(await describeIt()).toMatchObject({ revision: 6, keys: 0, bytes: 0 });
    });

    test("past: what was held at each moment can be read, whatever was written since", async () => {
      const start = clock.nowMs();
      await write(put("a", "1"), put("b", "1"));
      clock.advance(1_000);
      await write(put("b", "2"), remove("a"), put("c", "2"));
      clock.advance(1_000);
      await write(put("a", "3"), remove("b"), put("a", "4"), remove("zz"));
      expect(await textsAt(start)).toEqual(["a=1", "b=1"]);
      expect(await textsAt(start + 999)).toEqual(["a=1", "b=1"]);
      expect(await textsAt(start + 1_000)).toEqual(["b=2", "c=2"]);
      expect(await textsAt(clock.nowMs())).toEqual(["a=4", "c=2"]);
      const [earlier] = await origin.administration.readEarlier(NAMESPACE, 2 as Revision, null);
      expect(earlier).toMatchObject({ key: "a", now: "other", entry: { metadata: '{"of":"a"}' } });
    });

    test("past: a moment before the namespace or to come is refused, naming what is possible", async () => {
      const created = clock.nowMs();
      await write(put("a", "1"));
      const asked = origin.administration.revisionAt(NAMESPACE, created - 1);
      await expect(asked).rejects.toMatchObject({
        code: "moment_unknown",
        message: expect.stringContaining(`earliest possible is ${new Date(created).toISOString()}`),
      });
      const future = origin.administration.revisionAt(NAMESPACE, clock.nowMs() + 1);
      await expect(future).rejects.toMatchObject({ code: "moment_unknown" });
    });

    test("past: a clock that was set back changes no order", async () => {
      await write(put("a", "1"));
      const first = clock.nowMs();
      clock.stepWall(-HOUR_MS);
      await write(put("a", "2"));
      clock.stepWall(2 * HOUR_MS);
      await write(put("a", "3"));
      // Both of the first were committed at the same moment, as far as anybody can say.
      expect(await textsAt(first)).toEqual(["a=2"]);
      expect(await textsAt(clock.nowMs())).toEqual(["a=3"]);
    });

    test("horizon: records leave the log by their age, and the state at its edge stays known", async () => {
      const start = clock.nowMs();
      await write(put("a", "1"));
      clock.advance(HOUR_MS);
      await write(put("a", "2"));
      clock.advance(LIMITS.logAgeMs - HOUR_MS);
      await origin.expire();
      expect(await textsAt(start)).toEqual(["a=1"]);
      clock.advance(HOUR_MS - 1);
      await origin.expire();
      const earliestMs = clock.nowMs() - LIMITS.logAgeMs;
      expect(await textsAt(earliestMs)).toEqual(["a=1"]);
      await expect(textsAt(start - 1)).rejects.toMatchObject({ code: "moment_unknown" });
      // Whoever reads entries holds the log for a while.
      clock.advance(2 * LIMITS.logHoldMs);
      await origin.expire();
      expect((await origin.administration.describe(NAMESPACE)).log).toMatchObject({
        ...{ records: 0, bytes: 0, startMs: start + HOUR_MS },
      });
      await expect(textsAt(start + HOUR_MS - 1)).rejects.toMatchObject({ code: "moment_unknown" });
      expect(await textsAt(start + HOUR_MS)).toEqual(["a=2"]);
    });

    test("horizon: many records of an age leave in one sweep, and the log is not looked at again at once", async () => {
      const many = Array.from({ length: LIMITS.sweepRowsMax + 1 }, (_, index) =>
        remove(`${index}`),
      );
      await write(...many);
      await write(...many);
      clock.advance(LIMITS.logAgeMs);
      await write(put("new", "1"));
      await origin.expire();
      expect((await origin.administration.describe(NAMESPACE)).log.records).toBe(1);
      clock.advance(LIMITS.logAgeCheckMs - 1);
      await write(put("new", "2"));
      await origin.expire();
      expect((await origin.administration.describe(NAMESPACE)).log.records).toBe(2);
    });

    test("horizon: it can be set, and bounds the bytes of what was written and replaced", async () => {
      const bytesMax = 100_000;
      await reopen({ ageMs: HOUR_MS, bytesMax });
      const text = "x".repeat(10_000);
      for (let count = 0; count < 30; count += 1) await write(put("k", text));
      const { log } = await origin.administration.describe(NAMESPACE);
      expect(log.bytes).toBeLessThanOrEqual(bytesMax);
      // Each record has the value and the one before it.
      expect(log.records).toBeLessThanOrEqual(bytesMax / (2 * text.length));
      expect(await check()).toEqual([]);
      clock.advance(HOUR_MS);
      await origin.expire();
      expect((await origin.administration.describe(NAMESPACE)).log).toMatchObject({
        ...{ records: 0, bytes: 0 },
      });
    });

    test("check: a log that was cut in the midst of a transaction is sound", async () => {
      await reopen({ ageMs: HOUR_MS, bytesMax: 10_000 });
      await write(...Array.from({ length: 8 }, (_, index) => put("k", `${index}`.repeat(2_000))));
      const { log, revision } = await origin.administration.describe(NAMESPACE);
      expect(log.start.revision).toBeLessThan(revision);
      expect(await check()).toEqual([]);
      clock.advance(1_000);
      await write(put("other", "1"), put("k", "1"));
      expect(await check()).toEqual([]);
    });

    test("check: what leaves the log meanwhile is not asked for", async () => {
      await reopen({ ageMs: HOUR_MS, bytesMax: 10_000 });
      const value = { kind: "blob", hash: "ab".repeat(32), size: 70_000 } as const;
      await origin.claimValue(value.hash);
      await write({ kind: "put", key: "large" as Key, value });
      for (let count = 0; count < 20; count += 1) await write(put("k", "x".repeat(100)));
      // As a writer does while entries are read.
      const checkValue = async (): Promise<undefined> => {
        for (let count = 0; count < 3; count += 1) await write(put("other", "y".repeat(2_000)));
      };
      expect(await checkNamespace({ origin, namespace: NAMESPACE, checkValue })).toEqual([]);
      const { log } = await origin.administration.describe(NAMESPACE);
      expect(log.start.revision).toBeGreaterThan(0);
    });

    test("horizon: a reader that is far behind gets no log, and the past is known all the same", async () => {
      const start = await origin.point(NAMESPACE);
      await write(put("old", "1"));
      const then = clock.nowMs();
      clock.advance(1);
      const batch = Array.from({ length: 1_000 }, (_, index) => put(`k${index % 10}`, "x"));
      for (let count = 0; count < LIMITS.logCatchUpRecordsMax; count += batch.length) {
        await write(...batch);
      }
      expect(await origin.readLog(NAMESPACE, start)).toEqual({ kind: "truncated" });
      expect(await textsAt(then)).toEqual(["old=1"]);
    });

    test("restore: brings back what was overwritten, deleted and added, as new writes", async () => {
      const then = clock.nowMs();
      await write(put("kept", "1"), put("changed", "1"), put("deleted", "1"), put("back", "1"));
      clock.advance(1_000);
      await write(put("changed", "2"), remove("deleted"), put("added", "2"), put("back", "2"));
      await write(put("back", "1"), remove("never"));
      const second = clock.nowMs();
      clock.advance(1_000);
      const before = await origin.point(NAMESPACE);
      const summary = { to: 4, puts: 2, deletes: 1 };
      expect(await restore(then, true)).toEqual(summary);
      expect(await origin.point(NAMESPACE)).toEqual(before);
      expect(await restore(then)).toEqual(summary);
      expect(await textsAt(clock.nowMs())).toEqual([
        ...["back=1", "changed=1", "deleted=1", "kept=1"],
      ]);
      expect((await origin.point(NAMESPACE)).revision).toBe(before.revision + 3);
      expect(await restore(then)).toEqual({ to: 4, puts: 0, deletes: 0 });
      // A restore can be taken back, too.
      clock.advance(1_000);
      await restore(second);
      expect(await textsAt(clock.nowMs())).toContain("changed=2");
    });

    test("restore: what it writes itself takes nothing from it that it needs", async () => {
      await reopen({ ageMs: HOUR_MS, bytesMax: 1_000_000 });
      const keys = Array.from({ length: 60 }, (_, index) => `k${index + 10}`);
      for (const key of keys) await write(put(key, "x".repeat(10_000)));
      const then = clock.nowMs();
      clock.advance(1_000);
      for (const key of keys) await write(remove(key));
      expect((await restore(then)).puts).toBe(keys.length);
      const restored = await origin.administration.describe(NAMESPACE);
      expect(restored).toMatchObject({ keys: keys.length });
      expect(restored.log.bytes).toBeGreaterThan(1_000_000);
      // Afterwards it is bounded as ever.
      clock.advance(LIMITS.logHoldMs);
      await write(put("k", "x"));
      const { log } = await origin.administration.describe(NAMESPACE);
      expect(log.bytes).toBeLessThanOrEqual(1_000_000);
    });

    test("restore: what has expired since does not come back", async () => {
      const then = clock.nowMs();
      await write(put("short", "1", seconds() + 60), put("long", "1", seconds() + 600));
      clock.advance(1_000);
      await write(put("short", "2"), remove("long"));
      clock.advance(60_000);
      expect(await restore(then)).toEqual({ to: 2, puts: 1, deletes: 1 });
      expect(await origin.get(NAMESPACE, "short")).toBeUndefined();
      expect(await origin.get(NAMESPACE, "long")).toMatchObject({ expiresAt: seconds() + 539 });
    });

    test("restore: a large value that is stored no more ends it, naming the key", async () => {
      const then = clock.nowMs();
      const value = { kind: "blob", hash: "ab".repeat(32), size: 70_000 } as const;
      await origin.claimValue(value.hash);
      await write({ kind: "put", key: "large" as Key, value });
      clock.advance(1);
      await write(remove("large"));
      const options = { origin, namespace: NAMESPACE, atMs: then, nowMs: then, isDryRun: false };
      const blobs = { has: async () => false };
      const restoring = restoreSome({ ...options, blobs, after: null });
      await expect(restoring).rejects.toMatchObject({
        ...{ code: "value_unavailable", message: expect.stringContaining('"large"') },
      });
      expect(await restore(then)).toMatchObject({ puts: 1 });
      expect(await origin.get(NAMESPACE, "large")).toMatchObject({ key: "large", value });
    });

    test("restore: to any moment of a random history, which a check finds sound", async () => {
      const random = new Random(4);
      const texts = new Map<string, string>();
      const moments: Array<{ readonly atMs: number; readonly state: ReadonlySet<string> }> = [];
      const snapshot = (): ReadonlySet<string> =>
        new Set([...texts].map(([key, text]) => `${key}=${text}`));
      for (let step = 0; step < 60; step += 1) {
        const operations = Array.from({ length: 1 + random.below(4) }, (): KvOperation => {
          const key = `k${random.below(12)}`;
          if (random.below(3) === 0) {
            texts.delete(key);
            return remove(key);
          }
          const text = `${step}`.repeat(1 + random.below(20_000));
          texts.set(key, text);
          return put(key, text);
        });
        await write(...operations);
        moments.push({ atMs: clock.nowMs(), state: snapshot() });
        clock.advance(1 + random.below(1_000));
      }
      const setAt = async (atMs: number) => new Set(await textsAt(atMs));
      for (const { atMs, state } of moments) expect(await setAt(atMs)).toEqual(state);
      expect(await check()).toEqual([]);
      for (const { atMs, state } of [moments[20], moments[50], moments[3]].filter(isThere)) {
        clock.advance(1_000);
        await restore(atMs);
        expect(await setAt(clock.nowMs())).toEqual(state);
      }
      expect(await check()).toEqual([]);
    });

    test("past: reading it is not confused by what is written meanwhile", async () => {
      const text = "x".repeat(LIMITS.inlineValueBytesMax);
      const keys = Array.from({ length: 20 }, (_, index) => `k${String(index).padStart(2, "0")}`);
      await write(...keys.map((key) => put(key, text)));
      const { revision } = await origin.point(NAMESPACE);
      const seen: string[] = [];
      for await (const entry of entriesAt(origin, NAMESPACE, revision)) {
        seen.push(`${entry.key}${textOf(entry) === text ? "" : " changed"}`);
        const { key } = entry;
        await write(remove(key), put(`${key}+`, "new"), remove("k13"), put("k17", "changed"));
        await write(put("zz", "new"), put("a", "new"));
      }
      expect(seen).toEqual(keys);
    });

    test("every call on a namespace that does not exist is refused", async () => {
      const { administration } = origin;
      for (const call of [
        () => administration.describe(MISSING),
        () => administration.revisionAt(MISSING, clock.nowMs()),
        () => administration.readEarlier(MISSING, 0 as Revision, null),
        () => administration.readLinks(MISSING, 0 as Revision),
        () => administration.rewrite(MISSING, [put("k", "1")]),
      ]) {
        await expect(call()).rejects.toMatchObject({ code: "namespace_not_found" });
      }
    });

    test("storage: the database finds nothing wrong with itself", async () => {
      await write(put("a", "1"), put("a", "2"));
      expect(await origin.administration.checkStorage()).toEqual([]);
    });
  });
}

function isThere<Value>(value: Value | undefined): value is Value {
  return value !== undefined;
}
