import { afterEach, beforeEach, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";
import { RecordedLog } from "../test-support/recorded-log.ts";
import { TestClock } from "../test-support/test-clock.ts";
import { TokenUses } from "./token-uses.ts";

let api: ControlPlaneApi;
let uses: TokenUses;
let log: RecordedLog;
let tick: () => void;
let id: string;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
  log = new RecordedLog();
  const every = (_intervalMs: number, callback: () => void) => {
    tick = callback;
    return () => undefined;
  };
  const clock = Object.assign(new TestClock(), { every });
  uses = new TokenUses({ database: api.controlPlane.database, clock, log: log.logger });
  ({ id } = (await api.call("POST A/tokens", { name: "ci", role: "viewer" })).result);
});
afterEach(async () => {
  await uses.close();
  await api.close();
});

async function storedUse(): Promise<string | null | undefined> {
  const query = api.controlPlane.database.selectFrom("api_tokens").select("last_used_at");
  return (await query.where("id", "=", id).executeTakeFirst())?.last_used_at;
}

test("token uses: are written by the clock, the latest of each token", async () => {
  uses.note(id, "2026-01-01T00:00:00.000Z");
  uses.note(id, "2026-01-01T00:00:01.000Z");
  uses.note("revoked-meanwhile", "2026-01-01T00:00:01.000Z");
  expect(await storedUse()).toBeNull();
  tick();
  // Behind what the clock began.
  await uses.write();
  expect(await storedUse()).toBe("2026-01-01T00:00:01.000Z");
});

test("token uses: what could not be written is written later", async () => {
  const { schema } = api.controlPlane.database;
  await schema.alterTable("api_tokens").renameTo("away").execute();
  uses.note(id, "2026-01-01T00:00:00.000Z");
  await uses.write();
  expect(log.lines).toMatchObject([{ msg: expect.stringMatching(/can't be written now/) }]);
  await schema.alterTable("away").renameTo("api_tokens").execute();
  await uses.close();
  expect(await storedUse()).toBe("2026-01-01T00:00:00.000Z");
});

test("token uses: no more are held than so many", async () => {
  for (let number = 0; number < LIMITS.tokenUsesHeldMax; number += 1) {
    uses.note(`other ${number}`, "2026-01-01T00:00:00.000Z");
  }
  uses.note(id, "2026-01-01T00:00:00.000Z");
  await uses.write();
  expect(await storedUse()).toBeNull();
  uses.note(id, "2026-01-01T00:00:00.000Z");
  await uses.close();
  expect(await storedUse()).toBe("2026-01-01T00:00:00.000Z");
});
