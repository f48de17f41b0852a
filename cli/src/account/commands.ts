import type { DatabasePlace } from "@atoll/control-plane";
import { Option, type Command } from "commander";
import { besideDatabaseOption } from "../database-place.ts";
import { parseQuota } from "../options.ts";

// Named here once more: help loads no part of a node.
const CELL_POLICIES = ["per-worker", "shared"];

const CREATE_HELP = `
The account begins with a token of the role admin, which is printed this once: whoever has it makes narrower ones with
'atoll token create'. From the second account on, routes outside of the base domain need a domain that their account has
proved ('atoll domain --help'), and the console asks for a token.`;

interface Place {
  readonly data: string | undefined;
  readonly database?: string;
}

interface DataFolder {
  readonly option: () => Option;
  readonly place: (given: Place) => DatabasePlace;
}

/** `atoll account`: who shares a fleet, and what its operator grants them. */
export function addAccountCommands(program: Command, data: DataFolder): void {
  const accounts = program
    .command("account")
    .description("make accounts, and say what each is granted");
  addCreateCommand(accounts, data);
  accounts
    .command("list")
    .description("show all accounts and what they are granted")
    .addOption(data.option())
    .addOption(besideDatabaseOption())
    .action(async (options: Place) => {
      const { listAccounts } = await import("./account.ts");
      console.log(await listAccounts(data.place(options)));
    });
  addUsageCommand(accounts, data);
  addSetCommand(accounts, data);
}

function addCreateCommand(accounts: Command, data: DataFolder): void {
  accounts
    .command("create")
    .description("make an account, and print its first token this once")
    .argument("<name>", "what it is called, by you and in wrangler")
    .option("--json", "print JSON", false)
    .addOption(data.option())
    .addOption(besideDatabaseOption())
    .addHelpText("after", CREATE_HELP)
    .action(async (name: string, options: Place & { json: boolean }) => {
      const { createAccount, formatCreatedAccount } = await import("./account.ts");
      const created = await createAccount({ ...data.place(options), name });
      console.log(options.json ? JSON.stringify(created, null, 2) : formatCreatedAccount(created));
    });
}

function addUsageCommand(accounts: Command, data: DataFolder): void {
  accounts
    .command("usage")
    .description("show what each account used today (UTC) of what it may use on a day")
    .argument("[account]", "its id, or its name: this account alone")
    .option("--json", "print JSON", false)
    .addOption(data.option())
    .addOption(besideDatabaseOption())
    .action(async (account: string | undefined, options: Place & { json: boolean }) => {
      const { formatAccountDays, readAccountDays } = await import("./account.ts");
      const days = await readAccountDays({ ...data.place(options), account });
      console.log(options.json ? JSON.stringify(days, null, 2) : formatAccountDays(days));
    });
}

function addSetCommand(accounts: Command, data: DataFolder): void {
  accounts
    .command("set")
    .description("change what an account is granted; every node follows")
    .argument("<account>", "its id, or its name")
    .addOption(
      new Option("--cells <policy>", "whether small workers share a cell").choices(CELL_POLICIES),
    )
    .option("--memory <MB>", "memory of a cell above that of an idle one, 64 to 4096", Number)
    .option(
      "--kv-keys <count>",
      "keys in all its KV namespaces, or 'none' for no bound",
      parseQuota,
    )
    .option("--kv-size <MB>", "their keys, values and metadata together, or 'none'", parseQuota)
    .option(
      "--kv-writes-per-second <count>",
      "puts and deletes in one second, or 'none'",
      parseQuota,
    )
    .option("--kv-writes-per-day <count>", "the same on one day (UTC), or 'none'", parseQuota)
    .option("--workers <count>", "workers that it may have, or 'none' for no bound", parseQuota)
    .option("--versions <count>", "versions kept of each worker, at most 100", parseQuota)
    .option("--script-size <MB>", "modules of one version together, or 'none'", parseQuota)
    .option("--assets <count>", "static assets of one version, or 'none'", parseQuota)
    .option("--assets-size <MB>", "their bytes together, or 'none'", parseQuota)
    .option(
      "--requests-per-day <count>",
      "requests to its workers with code on one day (UTC), on all nodes together, or 'none'",
      parseQuota,
    )
    .option("--cpu-per-day <ms>", "CPU time of these on the same day, or 'none'", parseQuota)
    .option("--kv-reads-per-day <count>", "keys that are read on that day, or 'none'", parseQuota)
    .option("--kv-lists-per-day <count>", "listings of keys on that day, or 'none'", parseQuota)
    .addOption(data.option())
    .addOption(besideDatabaseOption())
    .action(async (account: string, { data: folder, database, ...options }) => {
      const { setAccount } = await import("./account.ts");
      const place = data.place({ data: folder, database });
      console.log(await setAccount({ ...options, ...place, account }));
    });
}
