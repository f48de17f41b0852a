import { describe, expect, test } from "vitest";
import { Key, type KvCondition } from "../entry.ts";
import { LIMITS } from "../limits.ts";
import { NamespaceId, Revision, type HistoryPoint } from "../names.ts";
import type { ManualClock } from "../test-support/manual-clock.ts";
import { put, remove, textOf, type OriginPlace } from "../test-support/origin-place.ts";
import { BEGINNING, recordsAfter, useOrigin } from "../test-support/use-origin.ts";
import { describeOriginAdministration } from "./origin-administration.conformance.ts";
import { describeOriginHistory } from "./origin-history.conformance.ts";
import { describeOriginQuotas } from "./origin-quotas.conformance.ts";
import { describeOriginValues } from "./origin-values.conformance.ts";
import type { KvOrigin } from "./origin.ts";

const NAMESPACE = NamespaceId.parse("1".repeat(32));
const OTHER = NamespaceId.parse("2".repeat(32));
const MISSING = NamespaceId.parse("3".repeat(32));

/** What every origin promises; see `KvOrigin`. */
export function describeOrigin(
  name: string,
  { createPlace }: { readonly createPlace: () => Promise<OriginPlace> },
): void {
  describeOriginHistory(name, { createPlace });
  describeOriginValues(name, { createPlace });
  describeOriginAdministration(name, { createPlace });
  describeOriginQuotas(name, { createPlace });

  describe(`origin: ${name}`, () => {
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

    const conditionOf = (key: string, revision: number): KvCondition => ({
      key: Key.parse(key),
      revision: Revision.parse(revision),
    });

    /** Puts the key if it is at this revision. */
    const writeIf = (key: string, revision: number, text: string): Promise<Revision> =>
      origin.write(NAMESPACE, [put(key, text)], [conditionOf(key, revision)]);

    test("write: a put is read back whole, a delete makes it absent", async () => {
      const expiresAt = nowSeconds() + 60;
      const value = { kind: "blob", hash: "ab".repeat(32), size: 70_000 } as const;
      await origin.claimValue(value.hash);
      await origin.write(NAMESPACE, [{ kind: "put", key: Key.parse("b"), value, expiresAt }]);
      await origin.write(NAMESPACE, [put("i", "text")]);
      expect(await origin.get(NAMESPACE, "b")).toEqual({ key: "b", value, expiresAt, revision: 1 });
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
      const records = await recordsAfter(origin, NAMESPACE, BEGINNING);
      expect(records.map(({ revision }) => revision)).toEqual(
        Array.from({ length: 100 }, (_, index) => index + 1),
      );
      expect((await point()).revision).toBe(100);
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
      await reopen();
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
      clock.advance((expiresAt - 1) * 1_000 - clock.nowMs());
      expect(await origin.expire()).toBe(0);
      const before = await point();
      clock.advance(1_000);
      expect(await origin.expire()).toBe(1);
      const after = await point();
      expect(await recordsAfter(origin, NAMESPACE, before)).toEqual([
        { ...after, operation: remove("due") },
      ]);
      expect([before.revision, after.revision]).toEqual([4, 5]);
      expect(await origin.expire()).toBe(0);
    });

    test("expiry: time does not go back when the clock is set back, and what has expired stays so", async () => {
      const expiresAt = nowSeconds() + 60;
      await origin.write(NAMESPACE, [put("k", "1", expiresAt), put("later", "1", expiresAt + 60)]);
      clock.advance(60_000);
      expect(await origin.get(NAMESPACE, "k")).toBeUndefined();
      const reachedMs = origin.nowMs();
      clock.stepWall(-3_600_000);
      expect(origin.nowMs()).toBe(reachedMs);
      expect(await origin.get(NAMESPACE, "k")).toBeUndefined();
      expect(await keysOf()).toEqual(["later"]);
      expect(await origin.expire()).toBe(1);
      clock.advance(1_000);
      expect(origin.nowMs()).toBe(reachedMs);
    });

    test("expiry: what was swept counts as the time also after another start, with a clock that was set back", async () => {
      const expiresAt = nowSeconds() + 60;
      await origin.write(NAMESPACE, [put("k", "1", expiresAt), put("later", "1", expiresAt + 60)]);
      clock.advance(60_000);
      expect(await origin.expire()).toBe(1);
      await origin.close();
      clock.stepWall(-3_600_000);
      await reopen();
      expect(origin.nowMs()).toBeGreaterThanOrEqual(expiresAt * 1_000);
      await origin.write(NAMESPACE, [put("k", "late", expiresAt)]);
      expect(await origin.get(NAMESPACE, "k")).toBeUndefined();
      expect(await keysOf()).toEqual(["later"]);
    });

    test("conditions: a write for the revision that the key has is made, and for any other it is not", async () => {
      await origin.write(NAMESPACE, [put("other", "1"), put("k", "1")]);
      expect((await origin.get(NAMESPACE, "k"))?.revision).toBe(2);
      await origin.write(NAMESPACE, [put("other", "2")]);
      expect(await writeIf("k", 2, "2")).toBe(4);
      for (const wrong of [0, 1, 2, 3, 5]) {
        await expect(writeIf("k", wrong, "3")).rejects.toMatchObject({
          code: "precondition_failed",
          retryable: false,
          found: 4,
          message: expect.stringMatching(
            wrong === 0
              ? /^The write was for no entry of key "k", and found revision 4$/
              : `for revision ${wrong} of key "k", and found revision 4`,
          ),
        });
      }
      expect([textOf(await origin.get(NAMESPACE, "k")), (await point()).revision]).toEqual([
        "2",
        4,
      ]);
    });

    test("conditions: of an absent key the revision is 0, also when it was deleted or has expired", async () => {
      expect(await writeIf("k", 0, "1")).toBe(1);
      await expect(writeIf("missing", 1, "1")).rejects.toMatchObject({ found: 0 });
      await origin.write(NAMESPACE, [remove("k")]);
      expect(await writeIf("k", 0, "2")).toBe(3);
      await origin.write(NAMESPACE, [put("k", "3", nowSeconds() + 60)]);
      await expect(writeIf("k", 0, "4")).rejects.toMatchObject({ found: 4 });
      clock.advance(60_000);
      await expect(writeIf("k", 4, "4")).rejects.toMatchObject({ found: 0 });
      expect(await writeIf("k", 0, "5")).toBe(5);
      expect((await origin.get(NAMESPACE, "k"))?.revision).toBe(5);
    });

    test("conditions: of many writes for the same revision one is made, in one commit or in several", async () => {
      await origin.write(NAMESPACE, [put("k", "0")]);
      for (let round = 0; round < 3; round += 1) {
        const { revision = 0 } = (await origin.get(NAMESPACE, "k")) ?? {};
        const outcomes = await Promise.allSettled(
          Array.from({ length: 20 }, async (_, number) => {
            // Some in this turn, some in later ones.
            for (let turn = 0; turn < number % 4; turn += 1) await new Promise(setImmediate);
            return writeIf("k", revision, `${round}/${number}`);
          }),
        );
        const made = outcomes.flatMap((outcome, number) =>
          outcome.status === "fulfilled" ? [{ revision: outcome.value, number }] : [],
        );
        expect(made).toHaveLength(1);
        const entry = await origin.get(NAMESPACE, "k");
        expect([entry?.revision, textOf(entry)]).toEqual([
          made[0]?.revision,
          `${round}/${made[0]?.number}`,
        ]);
      }
      expect((await point()).revision).toBe(4);
    });

    test("conditions: all of a write's operations are made or none, and its own don't count", async () => {
      await origin.write(NAMESPACE, [put("a", "1"), put("b", "1")]);
      const before = await point();
      const conditions = [conditionOf("a", 1), conditionOf("b", 1)];
      const operations = [put("a", "2"), remove("b"), put("c", "2")];
      await expect(origin.write(NAMESPACE, operations, conditions)).rejects.toMatchObject({
        code: "precondition_failed",
        found: 2,
      });
      expect(await point()).toEqual(before);
      const right = [conditionOf("a", 1), conditionOf("b", 2), conditionOf("c", 0)];
      expect(await origin.write(NAMESPACE, operations, right)).toBe(5);
    });

    test("revisions: pages of entries have that of each entry, and a new start keeps them", async () => {
      await origin.write(NAMESPACE, [put("a", "1"), put("b", "1"), put("a", "2")]);
      await reopen();
      const { entries } = await origin.readEntries(NAMESPACE, null);
      expect(entries.map(({ key, revision }) => [key, revision])).toEqual([
        ["a", 3],
        ["b", 2],
      ]);
      expect(await writeIf("b", 2, "2")).toBe(4);
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
      expect([await point(), await keysOf()]).toEqual([BEGINNING, []]);
    });

    test("namespaces: every call on one that does not exist is refused", async () => {
      for (const call of [
        () => origin.write(MISSING, [put("k", "1")]),
        () => origin.get(MISSING, "k"),
        () => origin.list(MISSING, { prefix: "", limit: 1 }),
        () => origin.point(MISSING),
        () => origin.readLog(MISSING, BEGINNING),
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
