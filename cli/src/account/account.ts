import { existsSync } from "node:fs";
import { openAccountsService } from "@atoll/control-plane";
import {
  ACCOUNT_MEMORY_MIB,
  AccountSettings,
  type CellPolicy,
} from "@atoll/control-plane/contract";
import { systemClock } from "@atoll/kv-store";
import Table from "cli-table3";
import { UsageError } from "../settings.ts";

type Accounts = Awaited<ReturnType<typeof openAccountsService>>["accounts"];

/** The accounts as people read them. */
export async function listAccounts(options: { readonly dataDirectory: string }): Promise<string> {
  return withAccounts(options, async (accounts) => {
    const table = new Table({ head: ["account", "name", "cells", "memory"], style: { head: [] } });
    for (const { id, name, settings } of await accounts.list()) {
      table.push([id, name, settings.cells, `${settings.memoryMib} MB`]);
    }
    return table.toString();
  });
}

/**
 * Changes what an account is granted, straight in the control plane's database: whoever can read that
 * folder owns the fleet already. A control plane that runs takes note within a second and tells the nodes.
 */
export async function setAccount(options: {
  readonly dataDirectory: string;
  /** Its id, or its name when no other has the same. */
  readonly account: string;
  readonly cells?: CellPolicy;
  readonly memory?: number;
}): Promise<string> {
  const { account, cells, memory } = options;
  const changes = {
    ...(cells === undefined ? {} : { cells }),
    ...(memory === undefined ? {} : { memoryMib: memory }),
  };
  if (Object.keys(changes).length === 0) {
    throw new UsageError("Nothing to set: give --cells, --memory or both");
  }
  if (!AccountSettings.safeParse(changes).success) {
    const { min, max } = ACCOUNT_MEMORY_MIB;
    throw new UsageError(
      `--memory ${memory} is no good: a whole number from ${min} to ${max}, in MB`,
    );
  }
  return withAccounts(options, async (accounts) => {
    const id = await findAccount(accounts, account);
    const settings = await accounts.configure(id, changes);
    return `${id}: cells ${settings.cells}, memory ${settings.memoryMib} MB`;
  });
}

async function findAccount(accounts: Accounts, text: string) {
  const found = (await accounts.list()).filter(({ id, name }) => id === text || name === text);
  const [first] = found;
  if (found.length === 1 && first !== undefined) return first.id;
  throw new UsageError(
    found.length === 0
      ? `There is no account '${text}': 'atoll account list' shows all`
      : `${found.length} accounts are named '${text}': give the id of one`,
  );
}

async function withAccounts<Result>(
  options: { readonly dataDirectory: string },
  work: (accounts: Accounts) => Promise<Result>,
): Promise<Result> {
  if (!existsSync(options.dataDirectory)) {
    throw new UsageError(
      `${options.dataDirectory} does not exist: run this where the control plane runs, with its --data`,
    );
  }
  const { accounts, close } = await openAccountsService({ ...options, clock: systemClock });
  try {
    return await work(accounts);
  } finally {
    await close();
  }
}
