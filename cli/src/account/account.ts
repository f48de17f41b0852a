import {
  type AccountDay,
  AccountQuota,
  openAccountsService,
  type DatabasePlace,
} from "@atoll/control-plane";
import {
  ACCOUNT_MEMORY_MIB,
  AccountSettings,
  type CellPolicy,
} from "@atoll/control-plane/contract";
import { systemClock, type KvQuota } from "@atoll/kv-store";
import Table from "cli-table3";
import { requirePlace } from "../database-place.ts";
import type { Quota } from "../options.ts";
import { UsageError } from "../settings.ts";

type Accounts = Awaited<ReturnType<typeof openAccountsService>>["accounts"];

/** An account that was made, with the token that is told this once. */
interface CreatedAccount {
  readonly account: string;
  readonly name: string;
  readonly token: string;
}

/** Makes an account with a token of the role admin. No two that are made so have one name. */
export async function createAccount(
  options: DatabasePlace & { readonly name: string },
): Promise<CreatedAccount> {
  const name = options.name.trim();
  if (!/^[^\p{C}]{1,100}$/u.test(name)) {
    throw new UsageError("An account's name has 1 to 100 characters, and all of them can be shown");
  }
  return withAccounts(options, async (accounts) => {
    const taken = (await accounts.list()).find((account) => account.name === name);
    if (taken !== undefined) {
      throw new UsageError(`The account ${taken.id} is named '${name}': choose another name`);
    }
    const { account, token } = await accounts.create(name);
    return { account: account.id, name, token };
  });
}

/** The same as people read it. */
export function formatCreatedAccount({ account, name, token }: CreatedAccount): string {
  return [
    `Account ${account} (${name}). Its token is not shown again; with CLOUDFLARE_API_BASE_URL`,
    "as in wrangler.env it lets wrangler and atoll act for the account:",
    "",
    `CLOUDFLARE_ACCOUNT_ID=${account}`,
    `CLOUDFLARE_API_TOKEN=${token}`,
  ].join("\n");
}

/** The accounts as people read them. */
export async function listAccounts(options: DatabasePlace): Promise<string> {
  return withAccounts(options, async (accounts) => {
    const head = ["account", "name", "cells", "memory", "kv quota", "quota"];
    const table = new Table({ head, style: { head: [], border: [] } });
    for (const { id, name, settings, kvQuota, quota } of await accounts.list()) {
      const bounds = [formatKvQuota(kvQuota), formatQuota(quota)];
      table.push([id, name, settings.cells, `${settings.memoryMib} MB`, ...bounds]);
    }
    return table.toString();
  });
}

/** What each account, or one, used today of what it may use on a day. */
export async function readAccountDays(
  options: DatabasePlace & { readonly account?: string | undefined },
): Promise<ReadonlyArray<NamedDay>> {
  return withAccounts(options, async (accounts) => {
    const { account } = options;
    const asked =
      account === undefined ? await accounts.list() : [await findAccount(accounts, account)];
    const days: NamedDay[] = [];
    for (const each of asked) {
      days.push({ account: each.id, name: each.name, ...(await accounts.today(each)) });
    }
    return days;
  });
}

const UNBOUNDED = "unbounded";

type NamedDay = AccountDay & { readonly account: string; readonly name: string };

/** The same as people read it. */
export function formatAccountDays(days: ReadonlyArray<NamedDay>): string {
  const head = [
    ...["account", "name", "requests today", "of", "cpu today", "of"],
    ...["kv reads", "of", "kv lists", "of", ""],
  ];
  const table = new Table({ head, style: { head: [], border: [] } });
  for (const day of days) {
    const cpuMax = day.cpuMsMax === null ? UNBOUNDED : `${day.cpuMsMax} ms`;
    table.push([
      ...[day.account, day.name, day.requests, day.requestsMax ?? UNBOUNDED],
      ...[`${Math.round(day.cpuMs)} ms`, cpuMax],
      ...[day.kvReads, day.kvReadsMax ?? UNBOUNDED, day.kvLists, day.kvListsMax ?? UNBOUNDED],
      day.isUsedUp ? "used up" : "",
    ]);
  }
  const [first] = days;
  const ending = first === undefined ? "" : `\nthe day ends at ${first.endsAt}`;
  return `${table.toString()}${ending}`;
}

/**
 * Changes what an account is granted, straight in the control plane's database: whoever can read that
 * folder owns the fleet already. A control plane that runs takes note within a second and tells the nodes.
 */
export async function setAccount(
  options: DatabasePlace & {
    /** Its id, or its name when no other has the same. */
    readonly account: string;
    readonly cells?: CellPolicy;
    readonly memory?: number;
    /** Bounds of all its KV namespaces together. */
    readonly kvKeys?: Quota;
    /** In MB. */
    readonly kvSize?: Quota;
    readonly kvWritesPerSecond?: Quota;
    readonly kvWritesPerDay?: Quota;
    readonly workers?: Quota;
    /** Kept of each worker. */
    readonly versions?: Quota;
    /** In MB. */
    readonly scriptSize?: Quota;
    readonly assets?: Quota;
    /** In MB. */
    readonly assetsSize?: Quota;
    readonly requestsPerDay?: Quota;
    /** In ms. */
    readonly cpuPerDay?: Quota;
    readonly kvReadsPerDay?: Quota;
    readonly kvListsPerDay?: Quota;
  },
): Promise<string> {
  const { account, memory } = options;
  const settings = settingsOf(options);
  const kvQuota = kvQuotaOf(options);
  const quota = quotaOf(options);
  const hasSettings = Object.keys(settings).length > 0;
  if (!hasSettings && Object.keys(kvQuota).length + Object.keys(quota).length === 0) {
    throw new UsageError("Nothing to set: 'atoll account set --help' shows what there is");
  }
  if (!AccountQuota.safeParse(quota).success) {
    throw new UsageError("--versions is no good: the version that serves is always kept");
  }
  if (!AccountSettings.safeParse(settings).success) {
    const { min, max } = ACCOUNT_MEMORY_MIB;
    throw new UsageError(
      `--memory ${memory} is no good: a whole number from ${min} to ${max}, in MB`,
    );
  }
  return withAccounts(options, async (accounts) => {
    const { id } = await findAccount(accounts, account);
    const set = await accounts.configure(id, {
      ...(hasSettings ? { settings } : {}),
      kvQuota,
      quota,
    });
    const { cells, memoryMib } = set.settings;
    return `${id}: cells ${cells}, memory ${memoryMib} MB, kv ${formatKvQuota(set.kvQuota)}, ${formatQuota(set.quota)}`;
  });
}

type SetOptions = Parameters<typeof setAccount>[0];

function settingsOf({ cells, memory }: SetOptions): Partial<AccountSettings> {
  return {
    ...(cells === undefined ? {} : { cells }),
    ...(memory === undefined ? {} : { memoryMib: memory }),
  };
}

function quotaOf(options: SetOptions): Partial<AccountQuota> {
  const { workers, versions, scriptSize, assets, assetsSize } = options;
  const { requestsPerDay, cpuPerDay, kvReadsPerDay, kvListsPerDay } = options;
  return {
    ...(workers === undefined ? {} : { workersMax: boundOf(workers) }),
    ...(versions === undefined ? {} : { versionsKeptMax: boundOf(versions) }),
    ...(scriptSize === undefined ? {} : { scriptBytesMax: boundOf(scriptSize, MIB) }),
    ...(assets === undefined ? {} : { assetsMax: boundOf(assets) }),
    ...(assetsSize === undefined ? {} : { assetBytesMax: boundOf(assetsSize, MIB) }),
    ...(requestsPerDay === undefined ? {} : { requestsPerDayMax: boundOf(requestsPerDay) }),
    ...(cpuPerDay === undefined ? {} : { cpuMsPerDayMax: boundOf(cpuPerDay) }),
    ...(kvReadsPerDay === undefined ? {} : { kvReadsPerDayMax: boundOf(kvReadsPerDay) }),
    ...(kvListsPerDay === undefined ? {} : { kvListsPerDayMax: boundOf(kvListsPerDay) }),
  };
}

function kvQuotaOf(options: SetOptions): Partial<KvQuota> {
  const { kvKeys, kvSize, kvWritesPerSecond, kvWritesPerDay } = options;
  return {
    ...(kvKeys === undefined ? {} : { keysMax: boundOf(kvKeys) }),
    ...(kvSize === undefined ? {} : { bytesMax: boundOf(kvSize, MIB) }),
    ...(kvWritesPerSecond === undefined ? {} : { writesPerSecondMax: boundOf(kvWritesPerSecond) }),
    ...(kvWritesPerDay === undefined ? {} : { writesPerDayMax: boundOf(kvWritesPerDay) }),
  };
}

function boundOf(quota: Quota, unit = 1): number | null {
  return quota === "none" ? null : quota * unit;
}

const MIB = 1024 * 1024;

function formatQuota(quota: AccountQuota): string {
  const { workersMax, versionsKeptMax, scriptBytesMax, assetsMax, assetBytesMax } = quota;
  const { requestsPerDayMax, cpuMsPerDayMax, kvReadsPerDayMax, kvListsPerDayMax } = quota;
  const bounds = [
    ...(workersMax === null ? [] : [`${workersMax} workers`]),
    ...(versionsKeptMax === null ? [] : [`${versionsKeptMax} versions`]),
    ...(scriptBytesMax === null ? [] : [`scripts of ${scriptBytesMax / MIB} MB`]),
    ...(assetsMax === null ? [] : [`${assetsMax} assets`]),
    ...(assetBytesMax === null ? [] : [`assets of ${assetBytesMax / MIB} MB`]),
    ...(requestsPerDayMax === null ? [] : [`${requestsPerDayMax} requests/day`]),
    ...(cpuMsPerDayMax === null ? [] : [`${cpuMsPerDayMax} ms of CPU/day`]),
    ...(kvReadsPerDayMax === null ? [] : [`${kvReadsPerDayMax} KV reads/day`]),
    ...(kvListsPerDayMax === null ? [] : [`${kvListsPerDayMax} KV lists/day`]),
  ];
  return bounds.length === 0 ? "no other quota" : bounds.join(", ");
}

function formatKvQuota(quota: KvQuota): string {
  const { keysMax, bytesMax, writesPerSecondMax, writesPerDayMax } = quota;
  const bounds = [
    ...(keysMax === null ? [] : [`${keysMax} keys`]),
    ...(bytesMax === null ? [] : [`${bytesMax / MIB} MB`]),
    ...(writesPerSecondMax === null ? [] : [`${writesPerSecondMax} writes/s`]),
    ...(writesPerDayMax === null ? [] : [`${writesPerDayMax} writes/day`]),
  ];
  return bounds.length === 0 ? "unbounded" : bounds.join(", ");
}

async function findAccount(accounts: Accounts, text: string) {
  const found = (await accounts.list()).filter(({ id, name }) => id === text || name === text);
  const [first] = found;
  if (found.length === 1 && first !== undefined) return first;
  throw new UsageError(
    found.length === 0
      ? `There is no account '${text}': 'atoll account list' shows all`
      : `${found.length} accounts are named '${text}': give the id of one`,
  );
}

async function withAccounts<Result>(
  place: DatabasePlace,
  work: (accounts: Accounts) => Promise<Result>,
): Promise<Result> {
  requirePlace(place);
  const { accounts, close } = await openAccountsService({ ...place, clock: systemClock });
  try {
    return await work(accounts);
  } finally {
    await close();
  }
}
