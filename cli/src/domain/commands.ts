import { Option, type Command } from "commander";
import type { AccountApi } from "../account-api.ts";
import { besideDatabaseOption } from "../database-place.ts";

const HELP = `
A domain that your account has proved is yours with all that lies below it: other accounts can't route its hosts, and
wrangler deploys yours as custom domains ({ "pattern": "shop.example.com", "custom_domain": true }) and routes
("shop.example.com/*"). The first account that proves a domain has it. A claim keeps nobody else from doing so, and ends
after 7 days; a proof lasts, also when the record is gone. Hosts below this Atoll's base domain need none.

Example:
  atoll domain add example.com       prints the TXT record to set
  atoll domain verify example.com    looks for it
  atoll domain list                  shows your domains and claims
  atoll domain delete example.com    gives it up, when no route needs it any more`;

const DATA_HELP =
  "the control plane's data folder: there its operator takes a domain from whichever account proved it, such as one that was sold";

/** `atoll domain`: which domains are an account's. `findApi` finds the running Atoll. */
export function addDomainCommands(program: Command, findApi: () => Promise<AccountApi>): void {
  const domain = program
    .command("domain")
    .description("prove that domains are yours, so that your workers can answer there")
    .addHelpText("after", HELP);
  const addCommand = (name: string, description: string): Command =>
    domain
      .command(name)
      .description(description)
      .argument("<domain>", "such as example.com")
      .option("--json", "print JSON", false);

  addCommand("add", "claim a domain, and print the TXT record that proves it").action(
    async (name: string, { json }: JsonOption) => {
      const { addDomain, formatClaim } = await import("./domain.ts");
      const added = await addDomain(await findApi(), name);
      console.log(json ? JSON.stringify(added, null, 2) : formatClaim(added));
    },
  );

  addCommand("verify", "look for the TXT record of a claim; with it, the domain is yours").action(
    async (name: string, { json }: JsonOption) => {
      const { formatProved, verifyDomain } = await import("./domain.ts");
      const proved = await verifyDomain(await findApi(), name);
      console.log(json ? JSON.stringify(proved, null, 2) : formatProved(proved));
    },
  );

  domain
    .command("list")
    .description("show your domains and claims, and the TXT records that these wait for")
    .option("--json", "print JSON", false)
    .action(async ({ json }: JsonOption) => {
      const { formatDomains, listDomains } = await import("./domain.ts");
      const domains = await listDomains(await findApi());
      console.log(json ? JSON.stringify(domains, null, 2) : formatDomains(domains));
    });

  addCommand("delete", "give up a domain or claim")
    .addOption(new Option("--data <folder>", DATA_HELP))
    .addOption(besideDatabaseOption())
    .action(async (name: string, { json, data, database }: DeleteOptions) => {
      const { deleteDomain, deleteDomainOfAnybody } = await import("./domain.ts");
      const deleted =
        data === undefined
          ? await deleteDomain(await findApi(), name)
          : await deleteDomainOfAnybody({ dataDirectory: data, databaseUrl: database }, name);
      console.log(json ? JSON.stringify(deleted, null, 2) : `Gave up ${deleted.domain}.`);
    });
}

interface JsonOption {
  readonly json: boolean;
}

interface DeleteOptions extends JsonOption {
  readonly data?: string;
  readonly database?: string;
}
