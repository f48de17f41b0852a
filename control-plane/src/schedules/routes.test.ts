import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";

const LINE = "A/workers/scripts/one/schedules";

let api: ControlPlaneApi;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
  await api.deploy("one");
});
afterEach(() => api.close());

async function put(crons: ReadonlyArray<string>, tenant?: "theirs") {
  return api.call(
    `PUT ${LINE}`,
    crons.map((cron) => ({ cron })),
    tenant,
  );
}

async function isScheduled(): Promise<boolean | undefined> {
  const { workers } = await api.controlPlane.desiredState.snapshot();
  return workers.find(({ name }) => name === "one")?.isScheduled;
}

describe("schedules: ", () => {
  test("are set as a whole, and told", async () => {
    const set = await put(["0 12 * * *", "*/5 * * * *", "0 12 * * *"]);
    expect(set.result.schedules).toMatchObject([
      { cron: "*/5 * * * *", created_on: expect.any(String), modified_on: expect.any(String) },
      { cron: "0 12 * * *" },
    ]);
    expect((await api.call(`GET ${LINE}`)).result).toEqual(set.result);
    expect((await put([])).result).toEqual({ schedules: [] });
    expect((await api.call(`GET ${LINE}`)).result).toEqual({ schedules: [] });
  });

  test("reach nodes as the fact that there are some, and what changes nothing is no mutation", async () => {
    expect(await isScheduled()).toBe(false);
    const revision = () => api.controlPlane.desiredState.revision();
    const start = await revision();
    await put(["0 12 * * *"]);
    expect([await isScheduled(), await revision()]).toEqual([true, start + 1]);
    const before = await api.countRows();
    await put(["0 12 * * *"]);
    expect(await api.countRows()).toEqual(before);
    await put(["0 13 * * *"]);
    expect(await revision()).toBe(start + 1);
    expect((await api.countRows())["audit"]).toBe((before["audit"] ?? 0) + 1);
    await put([]);
    expect([await isScheduled(), await revision()]).toEqual([false, start + 2]);
  });

  test("that stay go on as they were", async () => {
    const id = async (): Promise<unknown> =>
      api.controlPlane.database
        .selectFrom("schedules")
        .select(["id", "next_at"])
        .where("cron", "=", "0 12 * * *")
        .execute();
    await put(["0 12 * * *", "0 13 * * *"]);
    const before = await id();
    await put(["0 12 * * *", "0 14 * * *"]);
    expect(await id()).toEqual(before);
  });

  test.each([
    [
      "0 22 * * 0",
      "'0' of the day of the week is not one of 1 to 7 or SUN to SAT, where 1 is Sunday",
    ],
    ["* * * * * *", "6 fields"],
    ["", "0 fields"],
    ["0 0 30 2 *", "never comes"],
    [`${"1,".repeat(200)} * * * *`, "'' of the minute"],
  ])("'%s' is refused with its rule, and nothing is changed", async (cron, rule) => {
    await put(["0 12 * * *"]);
    const before = await api.countRows();
    const { status, errors } = await put(["0 13 * * *", cron]);
    expect([status, errors[0]?.code]).toEqual([400, 10_100]);
    expect(errors[0]?.message).toContain(`invalid cron string '${cron.slice(0, 100)}'`);
    expect(errors[0]?.message).toContain(rule);
    expect(await api.countRows()).toEqual(before);
    expect((await api.call(`GET ${LINE}`)).result.schedules).toMatchObject([
      { cron: "0 12 * * *" },
    ]);
  });

  test.each([
    [{ crons: [] }],
    [["* * * * *"]],
    [[{ cron: { cron: "* * * * *" } }]],
    [[{ cron: 5 }]],
    [[{}]],
    [[{ cron: "1".repeat(LIMITS.cronCharactersMax + 1) }]],
    [null],
  ])("the body %j is refused", async (body) => {
    const { status, errors } = await api.call(`PUT ${LINE}`, body);
    expect([status, errors[0]?.code]).toEqual([400, 10_001]);
  });

  test("are bounded", async () => {
    const many = (count: number) =>
      Array.from({ length: count }, (_, index) => `${index % 60} ${Math.floor(index / 60)} * * *`);
    expect((await put(many(LIMITS.schedulesMax))).status).toBe(200);
    const { status, errors } = await put(many(LIMITS.schedulesMax + 1));
    expect([status, errors[0]?.code]).toEqual([400, 10_100]);
    expect(errors[0]?.message).toContain(`the limit is ${LIMITS.schedulesMax}`);
  });

  test("of a worker that is not there, or another account's, are not found", async () => {
    for (const answer of [
      await api.call("GET A/workers/scripts/none/schedules"),
      await api.call("PUT A/workers/scripts/none/schedules", [{ cron: "* * * * *" }]),
      await put(["* * * * *"], "theirs"),
      await api.call(`GET ${LINE}`, undefined, "theirs"),
    ]) {
      expect([answer.status, answer.errors[0]?.code]).toEqual([404, 10_007]);
    }
  });

  test("go with their worker", async () => {
    await put(["* * * * *"]);
    await api.call("DELETE A/workers/services/one");
    expect(await api.controlPlane.database.selectFrom("schedules").selectAll().execute()).toEqual(
      [],
    );
  });

  test("of an account are told with what became of them, and to nobody else", async () => {
    await put(["*/5 * * * *"]);
    await api.deploy("two");
    await api.call("PUT A/workers/scripts/two/schedules", [{ cron: "0 12 * * *" }]);
    const [row] = await api.controlPlane.database
      .selectFrom("schedules")
      .selectAll()
      .where("cron", "=", "*/5 * * * *")
      .execute();
    const occurrence = {
      ...{ schedule_id: row?.id ?? "", state: "ended" as const, due_at: "", attempts: 2 },
      ...{ node: "fra", outcome: "ok", wall_ms: 7, ended_at: "2026-11-20T12:05:01.000Z" },
    };
    for (let minute = 10; minute < 10 + LIMITS.occurrencesListedMax + 2; minute += 1) {
      const at = { id: `${minute}`, scheduled_at: `2026-11-20T12:${minute}:00.000Z` };
      await api.controlPlane.database
        .insertInto("occurrences")
        .values({ ...occurrence, ...at })
        .execute();
    }
    const { result } = await api.call("GET A/schedules");
    expect(result.schedules).toMatchObject([
      { worker: "one", cron: "*/5 * * * *", nextAt: expect.any(String) },
      { worker: "two", cron: "0 12 * * *", occurrences: [] },
    ]);
    const { occurrences } = result.schedules[0];
    expect(occurrences).toHaveLength(LIMITS.occurrencesListedMax);
    expect(occurrences[0]).toEqual({
      ...{ scheduledAt: "2026-11-20T12:21:00.000Z", state: "ended", attempts: 2, node: "fra" },
      ...{ outcome: "ok", wallMs: 7, endedAt: "2026-11-20T12:05:01.000Z" },
    });
    const two = await api.call("GET A/schedules?worker=two");
    expect(two.result.schedules).toMatchObject([{ worker: "two" }]);
    const theirs = await api.call("GET A/schedules", undefined, "theirs");
    expect(theirs.result.schedules).toEqual([]);
    expect((await api.call("GET A/schedules?account=theirs")).status).toBe(400);
  });
});
