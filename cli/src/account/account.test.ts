import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openAccountsService } from "@atoll/control-plane";
import { systemClock } from "@atoll/kv-store";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createProgram } from "../program.ts";
import { UsageError } from "../settings.ts";
import {
  createAccount,
  formatAccountDays,
  formatCreatedAccount,
  listAccounts,
  readAccountDays,
  setAccount,
} from "./account.ts";

let dataDirectory: string;
let id: string;
beforeEach(async () => {
  dataDirectory = await mkdtemp(join(tmpdir(), "atoll-account-"));
  const { accounts, close } = await openAccountsService({ dataDirectory, clock: systemClock });
  id = (await accounts.create("Ours")).account.id;
  await accounts.create("Twin");
  await accounts.create("Twin");
  await close();
});
afterEach(() => rm(dataDirectory, { recursive: true }));

test("account: what is set by name or id is shown by the list", async () => {
  await setAccount({ dataDirectory, account: "Ours", cells: "shared" });
  expect(await setAccount({ dataDirectory, account: id, memory: 256 })).toBe(
    `${id}: cells shared, memory 256 MB, kv unbounded, no other quota`,
  );
  const lines = (await listAccounts({ dataDirectory })).split("\n");
  expect(lines.find((line) => line.includes("Ours"))).toMatch(/shared.*256 MB/);
  expect(lines.filter((line) => line.includes("Twin"))).toHaveLength(2);
  expect(lines.find((line) => line.includes("Twin"))).toMatch(/per-worker.*128 MB.*unbounded/);
});

test("account: one that is made is listed, and its token is told this once", async () => {
  const shown = vi.spyOn(console, "log").mockImplementation(() => undefined);
  const create = (...more: ReadonlyArray<string>): Promise<unknown> =>
    createProgram().parseAsync(
      ["account", "create", " Müller & Co ", "--data", dataDirectory, ...more],
      {
        from: "user",
      },
    );
  await create("--json");
  const made = JSON.parse(String(shown.mock.calls[0]?.[0])) as Record<string, string>;
  shown.mockRestore();
  expect(made).toMatchObject({
    account: expect.stringMatching(/^[0-9a-f]{32}$/),
    name: "Müller & Co",
  });
  const text = formatCreatedAccount({ account: "a", name: "b", token: made["token"] ?? "" });
  expect(text).toMatch(/^CLOUDFLARE_ACCOUNT_ID=a\nCLOUDFLARE_API_TOKEN=atoll_/m);
  const list = await listAccounts({ dataDirectory });
  expect(list).toContain(`${made["account"]} │ Müller & Co`);
  expect(list).not.toContain(made["token"]);
  await expect(create()).rejects.toThrow("choose another name");
  for (const name of ["", "  ", "a\nb", "\u202e", "a".repeat(101)]) {
    await expect(createAccount({ dataDirectory, name })).rejects.toThrow("1 to 100 characters");
  }
});

test("account: bounds of its KV namespaces are set one by one, and taken away", async () => {
  await setAccount({ dataDirectory, account: "Ours", kvKeys: 1_000, kvWritesPerSecond: 5 });
  await setAccount({ dataDirectory, account: "Ours", kvSize: 10, kvWritesPerDay: 0 });
  const lines = (await listAccounts({ dataDirectory })).split("\n");
  expect(lines.find((line) => line.includes("Ours"))).toMatch(
    /per-worker.*128 MB.*1000 keys, 10 MB, 5 writes\/s, 0 writes\/day/,
  );
  const run = (...bounds: ReadonlyArray<string>): Promise<unknown> =>
    createProgram().parseAsync(
      ["account", "set", id, "--data", dataDirectory, ...bounds.flatMap((each) => [each, "none"])],
      { from: "user" },
    );
  const shown = vi.spyOn(console, "log").mockImplementation(() => undefined);
  await run("--kv-keys", "--kv-size", "--kv-writes-per-second", "--kv-writes-per-day");
  expect(shown).toHaveBeenCalledWith(expect.stringMatching(/kv unbounded, no other quota$/));
  shown.mockRestore();
});

test("account: its other quotas are set one by one, and taken away", async () => {
  await setAccount({ dataDirectory, account: "Ours", workers: 2, versions: 5, scriptSize: 1 });
  expect(await setAccount({ dataDirectory, account: "Ours", assets: 10, assetsSize: 3 })).toMatch(
    /2 workers, 5 versions, scripts of 1 MB, 10 assets, assets of 3 MB$/,
  );
  const none = "none";
  await setAccount({ dataDirectory, account: "Ours", workers: none, versions: none });
  const rest = { scriptSize: none, assets: none, assetsSize: none } as const;
  expect(await setAccount({ dataDirectory, account: "Ours", ...rest })).toMatch(/no other quota$/);
});

test("account: its quotas by day are set one by one, shown with what was used, and taken away", async () => {
  await setAccount({ dataDirectory, account: "Ours", requestsPerDay: 0 });
  await setAccount({ dataDirectory, account: "Ours", cpuPerDay: 5, kvReadsPerDay: 7 });
  expect(await setAccount({ dataDirectory, account: "Ours", kvListsPerDay: 8 })).toMatch(
    /0 requests\/day, 5 ms of CPU\/day, 7 KV reads\/day, 8 KV lists\/day$/,
  );
  const days = await readAccountDays({ dataDirectory });
  expect(days.find(({ name }) => name === "Ours")).toMatchObject({
    ...{ account: id, requests: 0, requestsMax: 0, cpuMs: 0, cpuMsMax: 5, isUsedUp: true },
    ...{ kvReads: 0, kvReadsMax: 7, kvLists: 0, kvListsMax: 8 },
  });
  expect(days).toHaveLength(3);
  expect(formatAccountDays(days)).toMatch(
    /Ours +│ 0 +│ 0 +│ 0 ms +│ 5 ms +│ 0 +│ 7 +│ 0 +│ 8 +│ used up/,
  );
  expect(formatAccountDays(days)).toMatch(
    /Twin +│ 0 +│ unbounded +│ 0 ms +│ unbounded +│ 0 +│ unbounded +│ 0 +│ unbounded +│ /,
  );
  const shown = vi.spyOn(console, "log").mockImplementation(() => undefined);
  const usage = ["account", "usage", "Ours", "--json", "--data", dataDirectory];
  await createProgram().parseAsync(usage, { from: "user" });
  expect(JSON.parse(String(shown.mock.calls[0]?.[0]))).toMatchObject([{ account: id }]);
  shown.mockRestore();
  const lifted = { requestsPerDay: "none", cpuPerDay: "none" } as const;
  await setAccount({ dataDirectory, account: id, ...lifted });
  const ofKv = { kvReadsPerDay: "none", kvListsPerDay: "none" } as const;
  expect(await setAccount({ dataDirectory, account: id, ...ofKv })).toMatch(/no other quota$/);
  await expect(readAccountDays({ dataDirectory, account: "Nobody" })).rejects.toThrow(
    "There is no account 'Nobody'",
  );
});

test.each(
  ["-1", "1.5", "1e3", "1000000001", "", "many"].flatMap((text) =>
    ["requests", "kv-reads", "kv-lists"].map((what) => [text, what] as const),
  ),
)("account: %j is no quota of %s by day", async (text, what) => {
  const written = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  const program = createProgram();
  for (const command of [program, ...program.commands.flatMap((each) => each.commands)]) {
    command.exitOverride();
  }
  const set = ["account", "set", "Ours", "--data", dataDirectory, `--${what}-per-day=${text}`];
  await expect(program.parseAsync(set, { from: "user" })).rejects.toThrow("or 'none'");
  written.mockRestore();
});

test.each([
  [{ account: "Ours", versions: 0 }, "the version that serves is always kept"],
  [{ account: "Nobody", memory: 128 }, "There is no account 'Nobody'"],
  [{ account: "Twin", memory: 128 }, "2 accounts are named 'Twin'"],
  [{ account: "Ours" }, "Nothing to set"],
  [{ account: "Ours", memory: 63 }, "from 64 to 4096"],
  [{ account: "Ours", memory: 4_097 }, "from 64 to 4096"],
  [{ account: "Ours", memory: Number.NaN }, "from 64 to 4096"],
])("account: %j is refused", async (given, message) => {
  const refusal = await setAccount({ dataDirectory, ...given }).catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(UsageError);
  expect(String(refusal)).toContain(message);
});

test("account: a folder without a control plane is not made", async () => {
  const elsewhere = join(dataDirectory, "elsewhere");
  await expect(listAccounts({ dataDirectory: elsewhere })).rejects.toThrow("does not exist");
});
