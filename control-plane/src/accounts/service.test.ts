import { afterEach, beforeEach, expect, test } from "vitest";
import { AccountSettings, DEFAULT_ACCOUNT_SETTINGS } from "../contract/index.ts";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";

let api: ControlPlaneApi;
beforeEach(async () => {
  api = await ControlPlaneApi.start();
});
afterEach(() => api.close());

test("accounts: what one is granted is desired for each of its workers, and for nobody else's", async () => {
  const { accounts, desiredState } = api.controlPlane;
  const { id } = api.tenants.ours.account;
  await api.deploy("one");
  await api.deploy("two");
  await api.deploy("other", {}, "theirs");
  const before = await desiredState.revision();
  expect(await accounts.configure(id, { settings: { memoryMib: 256 } })).toMatchObject({
    settings: { cells: "per-worker", memoryMib: 256 },
  });
  await accounts.configure(id, { settings: { cells: "shared" } });
  const granted = { cells: "shared", memoryMib: 256 };
  const changes = await desiredState.changesSince(before);
  expect(changes?.upserts.map(({ name, settings }) => ({ name, settings }))).toEqual([
    { name: "one", settings: granted },
    { name: "two", settings: granted },
  ]);
  const { workers } = await desiredState.snapshot();
  expect(workers.find(({ name }) => name === "other")?.settings).toEqual(DEFAULT_ACCOUNT_SETTINGS);
  const listed = (await accounts.list()).map(({ name, settings }) => ({ name, settings }));
  expect(listed).toContainEqual({ name: "Ours", settings: granted });
  expect(listed).toContainEqual({ name: "Theirs", settings: DEFAULT_ACCOUNT_SETTINGS });
});

test("accounts: what one is granted is in the audit trail as the operator's doing", async () => {
  const { id } = api.tenants.ours.account;
  await api.controlPlane.accounts.configure(id, { settings: { memoryMib: 64 } });
  const rows = await api.controlPlane.database.selectFrom("audit").selectAll().execute();
  const own = rows.filter(({ account_id }) => account_id === id);
  expect(own).toMatchObject([
    { action: "account.create", token_id: "operator" },
    { action: "token.create", token_id: "operator" },

    { account_id: id, token_id: "operator", action: "account.configure", subject: id },
  ]);
  expect(JSON.parse(own.at(-1)?.after ?? "")).toMatchObject({ cells: "per-worker", memoryMib: 64 });
  expect(JSON.parse(own.at(-1)?.before ?? "")).toMatchObject({ memoryMib: 128 });
});

test("accounts: one that is made after the clock was set back takes nobody's place as the first", async () => {
  const { accounts } = api.controlPlane;
  api.clock.advanceMs(-60 * 60 * 1_000);
  await accounts.create("Third");
  const names = (await accounts.list()).map(({ name }) => name);
  expect(names).toEqual(["Ours", "Theirs", "Third"]);
  expect((await accounts.bootstrap()).account).toEqual(api.tenants.ours.account);
});

test("accounts: one without workers is configured without a new state", async () => {
  const { accounts, desiredState } = api.controlPlane;
  await accounts.configure(api.tenants.ours.account.id, { settings: { cells: "shared" } });
  expect(await desiredState.revision()).toBe(0);
});

test("account settings: memory is bounded, and what an older sender leaves out is the default", () => {
  const isSound = (memoryMib: number): boolean => AccountSettings.safeParse({ memoryMib }).success;
  expect([63, 64, 4_096, 4_097, 100.5].map(isSound)).toEqual([false, true, true, false, false]);
  expect(AccountSettings.parse({ later: true })).toEqual(DEFAULT_ACCOUNT_SETTINGS);
});
