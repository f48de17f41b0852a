import { Option, type Command } from "commander";
import type { AccountApi } from "../account-api.ts";
import type { KvApi } from "../kv/api.ts";
import { parseFutureMoment } from "../moment.ts";
import type { NewToken } from "./token.ts";

// Named here once more: `atoll --help` loads no part of the control plane, which refuses any other.
const ROLES = ["viewer", "deployer", "admin"];

const CREATE_HELP = `
Roles:
  viewer     looks at workers, their code and variables, versions, usage and names of keys; sees no values of keys or secrets
  deployer   also deploys, sets secrets, routes and domains, reads and writes keys, watches requests, makes and deletes
             workers and namespaces; never sees a secret's value
  admin      also makes and revokes tokens and reads the audit log

A token for one worker reaches that worker alone; it can't bind what the worker does not bind already. The worker
need not exist yet. The token is printed this once: only its hash is kept.

Example, for a build server that deploys one worker with wrangler:
  atoll token create ci --role deployer --worker shop --expires 90d`;

/** `atoll token`: the API tokens of an account. `find` finds the running Atoll. */
export function addTokenCommands(
  program: Command,
  find: { readonly api: () => Promise<AccountApi>; readonly kvApi: () => Promise<KvApi> },
): void {
  const token = program.command("token").description("make, list and revoke API tokens");
  token
    .command("create")
    .description("make an API token of your account, and print it this once")
    .argument("<name>", "what it is for, such as ci")
    .addOption(new Option("--role <role>", "what it may do").choices(ROLES).makeOptionMandatory())
    .addOption(new Option("--worker <name>", "for this worker alone").conflicts("namespace"))
    .option("--namespace <id>", "for this KV namespace alone: its id or title")
    .option("--expires <time>", "a date, or a time from now such as 90d (default: never)", (text) =>
      parseFutureMoment(text),
    )
    .option("--json", "print JSON", false)
    .addHelpText("after", CREATE_HELP)
    .action(async (name: string, { json, namespace: text, ...options }: NewTokenOptions) => {
      const { createToken, formatCreated } = await import("./token.ts");
      const reach =
        text === undefined ? {} : { namespace: (await (await find.kvApi()).find(text)).id };
      const created = await createToken(await find.api(), { name, ...options, ...reach });
      console.log(json ? JSON.stringify(created, null, 2) : formatCreated(created));
    });

  token
    .command("list")
    .description(
      "show the API tokens of your account: what they may do, until when, and their last use",
    )
    .option("--json", "print JSON", false)
    .action(async ({ json }: { json: boolean }) => {
      const { formatTokens, listTokens } = await import("./token.ts");
      const tokens = await listTokens(await find.api());
      console.log(json ? JSON.stringify(tokens, null, 2) : formatTokens(tokens));
    });

  token
    .command("revoke")
    .description("end an API token of your account at once")
    .argument("<id>", "as 'atoll token list' shows it")
    .option("--json", "print JSON", false)
    .action(async (id: string, { json }: { json: boolean }) => {
      const { revokeToken } = await import("./token.ts");
      const revoked = await revokeToken(await find.api(), id);
      console.log(json ? JSON.stringify(revoked, null, 2) : `Revoked ${revoked.id}.`);
    });
}

type NewTokenOptions = Omit<NewToken, "name"> & { readonly json: boolean };
