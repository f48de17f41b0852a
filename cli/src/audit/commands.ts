import { InvalidArgumentError, Option, type Command } from "commander";
import type { AccountApi } from "../account-api.ts";
import { besideDatabaseOption } from "../database-place.ts";
import { parseMoment } from "../moment.ts";
import type { AuditFilter } from "./audit.ts";

const HELP = `
The newest change comes first. --action takes one such as version.create, or a resource such as worker, token,
kv_namespace, route, custom_domain, deployment or account. Values of secrets and variables are not in it, and the single
writes of keys are not: they are data.

With --data an operator reads, where the control plane runs, the trail of any account, or that of the fleet itself:
join tokens and nodes.`;

const ROWS_MAX = 1_000;

/** `atoll audit`: who changed what. `findApi` finds the running Atoll. */
export function addAuditCommand(program: Command, findApi: () => Promise<AccountApi>): void {
  program
    .command("audit")
    .description("show who changed what of your account, from where, and how it was before")
    .option("--action <action>", "changes of this kind alone")
    .option("--subject <subject>", "of this worker, namespace or token alone")
    .option("--token <id>", "made with this API token alone; 'operator' for the operator's own")
    .option("--since <time>", "a date, or how long ago, such as 2h", (text) => parseMoment(text))
    .option("--until <time>", "the same", (text) => parseMoment(text))
    .option("--limit <count>", "at most so many, up to 1000", parseLimit, 100)
    .addOption(new Option("--data <folder>", "the control plane's data folder"))
    .addOption(besideDatabaseOption())
    .option("--account <id>", "with --data: the account, or fleet", "fleet")
    .option("--json", "print JSON", false)
    .addHelpText("after", HELP)
    .action(async (options: AuditOptions) => {
      const { fetchAudit, formatAudit, readAudit } = await import("./audit.ts");
      const { json, data, database: databaseUrl, account, ...filter } = options;
      const records =
        data === undefined
          ? await fetchAudit(await findApi(), filter)
          : await readAudit({ dataDirectory: data, databaseUrl, account }, filter);
      console.log(json ? JSON.stringify(records, null, 2) : formatAudit(records));
    });
}

type AuditOptions = AuditFilter & {
  readonly json: boolean;
  readonly data?: string;
  readonly database?: string;
  readonly account: string;
};

function parseLimit(text: string): number {
  const count = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (count >= 1 && count <= ROWS_MAX) return count;
  throw new InvalidArgumentError(`It is a whole number from 1 to ${ROWS_MAX}.`);
}
