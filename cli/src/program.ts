import { join } from "node:path";
import type { DatabasePlace } from "@atoll/control-plane";
import { Command, Help, Option } from "commander";
import type { AccountApi } from "./account-api.ts";
import { addAccountCommands } from "./account/commands.ts";
import { addAuditCommand } from "./audit/commands.ts";
import { addBackupCommands } from "./backup/commands.ts";
import { blobStoreOption, s3EndpointOption } from "./blob-store.ts";
import { besideDatabaseOption, databaseOption } from "./database-place.ts";
import { addDomainCommands } from "./domain/commands.ts";
import { addKvCommands } from "./kv/commands.ts";
import { addMasterKeyCommands } from "./master-key/commands.ts";
import { addMigrateCommand } from "./migrate/commands.ts";
import {
  parseDnsServers,
  parseEndpoint,
  parseHistoryDays,
  parseKvBudget,
  parseMegabytes,
  parseMemoryBudget,
  parsePort,
  parsePostgresUrl,
} from "./options.ts";
import { readSettings } from "./settings.ts";
import { addTokenCommands } from "./token/commands.ts";
import type { WranglerEnvironment } from "./wrangler-environment.ts";

const HELP = `
Environment:
  ATOLL_DATA    folder of the installation that commands look for on this machine (default: .atoll)
  CLOUDFLARE_API_BASE_URL, CLOUDFLARE_API_TOKEN, CLOUDFLARE_ACCOUNT_ID
                an Atoll elsewhere, and who asks it, as for wrangler: 'atoll up' writes them to wrangler.env in that folder

'atoll <command> --help' has the options of each.`;

const UP_HELP = `
Environment:
  ATOLL_DATA           folder of everything that is kept (default: .atoll)
  ATOLL_PORT           first of four ports: the control plane's, then one for each node (default: 4400)
  ATOLL_DATABASE       postgres:// address of a database for all that is not a blob (default: in ATOLL_DATA)
  ATOLL_BLOB_STORE     s3:// address of a bucket for blobs, with ATOLL_S3_ENDPOINT (default: in ATOLL_DATA)
  ATOLL_METRICS_PORT   first of three ports where GET /metrics tells what each node does (default: none)

'atoll control-plane --help' names more that its part of this heeds, such as ATOLL_DNS_RESOLVER.`;

const DATABASE_HELP =
  "postgres:// address of a database for all that is not a blob, which several control planes may share (default: in --data)";
const PEER_URL_HELP =
  "where other control planes on the database reach this one (default: http://127.0.0.1:<port>)";
const KV_DATABASE_HELP =
  "the same for the keys and values of KV namespaces alone; values over 64 KiB stay in --data (default: that of --database, else in --data)";

const OWNERSHIP_HELP =
  "whether a route or custom domain outside of the base domain needs a domain that its account has proved: always, never, or as soon as there is a second account";
const DNS_RESOLVER_HELP =
  "DNS server that is asked for the TXT records which prove domains, or several with commas between them (default: those of the system)";

const OPEN_CONSOLE_HELP =
  "show the page at / to browsers on this machine without a token, while there is one account: not for a control plane behind a proxy";

const BLOB_STORE_HELP =
  "bucket for code, static files and values over 64 KiB, with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION (default: --data)";

// Named here once more: `atoll --help` loads no part of a node. The option is typed by what it is passed to.
const INGRESSES = ["auto", "haproxy", "builtin"];
const OWNERSHIP_RULES = ["auto", "required", "none"];

/**
 * The `atoll` command. Each action loads its own parts, because most commands need few of them and
 * `atoll --help` none.
 */
export function createProgram(): Command {
  const program = new Command("atoll")
    .description("A self-hosted edge serverless platform for Workers projects.")
    .version("0.1.0")
    .showHelpAfterError("(run the command with --help for its options)")
    .configureHelp({ optionDescription: describeOption })
    .addHelpText("after", HELP);
  addLocalCommands(program);
  const findApi = async () => {
    const { AccountApi } = await import("./account-api.ts");
    return new AccountApi(await findVariables());
  };
  addUsageCommand(program, findApi);
  addSchedulesCommand(program, findApi);
  const findKvApi = async () => {
    const { KvApi } = await import("./kv/api.ts");
    return new KvApi(await findVariables());
  };
  const data = { option: controlPlaneDataOption, folder: controlPlaneData, place: placeOf };
  addKvCommands(program, { findApi: findKvApi, data });
  addTokenCommands(program, { api: findApi, kvApi: findKvApi });
  addDomainCommands(program, findApi);
  addAuditCommand(program, findApi);
  addFleetCommands(program);
  addAccountCommands(program, data);
  addBackupCommands(program, data);
  addMigrateCommand(program, data);
  addMasterKeyCommands(program, data);
  return program;
}

/** As it is, and whether it must be given. Flags are off by default, which needs no word. */
function describeOption(option: Option): string {
  if (option.isBoolean()) return option.description;
  const described = new Help().optionDescription(option);
  const isRequired = option.mandatory && option.defaultValue === undefined;
  return isRequired ? `${described} (required)` : described;
}

/** What people run on their own machine, in a project. */
function addLocalCommands(program: Command): void {
  program
    .command("up")
    .description("run a control plane and three nodes on this machine, until Ctrl-C")
    .addHelpText("after", UP_HELP)
    .addOption(requireSandboxOption())
    .action(async (options: { requireSandbox: boolean }) => {
      const { up } = await import("./up/up.ts");
      const { serveUntilStopped } = await import("./processes/serve-until-stopped.ts");
      serveUntilStopped(await up(readSettings(process.env), options));
    });

  program
    .command("deploy")
    .description("deploy the project in this folder with wrangler, and print its URLs")
    .argument("[arguments...]", "passed on to 'wrangler deploy'")
    .allowUnknownOption()
    .action(async (passedOn: string[]) => {
      const { deploy } = await import("./deploy/deploy.ts");
      const variables = await findVariables();
      const directory = process.cwd();
      process.exitCode = await deploy({ directory, arguments: passedOn, variables });
    });

  program
    .command("dev")
    .description("run the project in this folder in Miniflare, and reload it when a file is saved")
    .option("--port <port>", "port on 127.0.0.1", parsePort, 8787)
    .option("--remote-kv", "read and write the KV namespaces of the running Atoll", false)
    .action(async (options: { port: number; remoteKv: boolean }) => {
      const { runDev } = await import("./dev/dev.ts");
      await runDev({
        directory: process.cwd(),
        port: options.port,
        ...(options.remoteKv ? { remoteKv: await findVariables() } : {}),
      });
    });

  program
    .command("status")
    .description("show the nodes, what they run, and how fresh their data is")
    .option("--json", "print JSON", false)
    .action(async (options: { json: boolean }) => {
      const { fetchStatus, formatStatus } = await import("./status/status.ts");
      const status = await fetchStatus(await findVariables());
      console.log(options.json ? JSON.stringify(status, null, 2) : formatStatus(status));
    });
}

/** What an account's workers used. */
function addUsageCommand(program: Command, findApi: () => Promise<AccountApi>): void {
  program
    .command("usage")
    .description("show what your workers used in the last month, by version")
    .argument("[worker]", "this worker alone")
    .option("--json", "print JSON", false)
    .action(async (worker: string | undefined, options: { json: boolean }) => {
      const { fetchUsage, formatUsage } = await import("./usage/usage.ts");
      const usage = await fetchUsage(await findApi(), worker);
      console.log(options.json ? JSON.stringify(usage, null, 2) : formatUsage(usage));
    });
}

/** When an account's workers are called without a request. */
function addSchedulesCommand(program: Command, findApi: () => Promise<AccountApi>): void {
  program
    .command("schedules")
    .description("show the cron schedules of your workers, and what became of their latest times")
    .argument("[worker]", "this worker alone")
    .option("--json", "print JSON", false)
    .action(async (worker: string | undefined, options: { json: boolean }) => {
      const { fetchSchedules, formatSchedules } = await import("./schedules/schedules.ts");
      const schedules = await fetchSchedules(await findApi(), worker);
      console.log(options.json ? JSON.stringify(schedules, null, 2) : formatSchedules(schedules));
    });
}

/** What operators run: the parts of a fleet, each on a machine of its own. */
function addFleetCommands(program: Command): void {
  program
    .command("control-plane")
    .description("run the control plane: the API for wrangler and for the nodes")
    .requiredOption("--data <folder>", "where its database, blobs and keys are kept")
    .option("--port <port>", "port on 127.0.0.1", parsePort, 4400)
    .option("--base-domain <domain>", "workers answer at <worker>.<domain>", "localhost")
    .option("--ingress-port <port>", "port of the nodes that URLs name", parsePort, 4401)
    .option("--open-console", OPEN_CONSOLE_HELP, false)
    .option("--wrangler-env <file>", "write the variables for wrangler to this file")
    .addOption(
      new Option("--domain-ownership <rule>", OWNERSHIP_HELP)
        .choices(OWNERSHIP_RULES)
        .env("ATOLL_DOMAIN_OWNERSHIP")
        .default("auto"),
    )
    .addOption(
      new Option("--dns-resolver <address:port>", DNS_RESOLVER_HELP)
        .env("ATOLL_DNS_RESOLVER")
        .argParser(parseDnsServers),
    )
    .addOption(databaseOption(DATABASE_HELP))
    .addOption(
      new Option("--kv-database <url>", KV_DATABASE_HELP)
        .env("ATOLL_KV_DATABASE")
        .argParser(parsePostgresUrl),
    )
    .addOption(
      new Option("--peer-url <url>", PEER_URL_HELP).env("ATOLL_PEER_URL").argParser(parseEndpoint),
    )
    .addOption(blobStoreOption(BLOB_STORE_HELP))
    .addOption(s3EndpointOption())
    .addOption(
      new Option("--kv-history <days>", "how far back a KV namespace can be restored (default: 7)")
        .env("ATOLL_KV_HISTORY")
        .argParser(parseHistoryDays),
    )
    .addOption(
      new Option("--kv-history-size <MB>", "at most so much of it per namespace (default: 64)")
        .env("ATOLL_KV_HISTORY_SIZE")
        .argParser(parseMegabytes),
    )
    .addOption(requireSandboxOption())
    .action(async (options) => {
      const { runControlPlane } = await import("./control-plane/control-plane.ts");
      const { serveUntilStopped } = await import("./processes/serve-until-stopped.ts");
      serveUntilStopped(await runControlPlane(options));
    });

  program
    .command("join-token")
    .description("make a one-time token with which a node joins the fleet")
    .addOption(controlPlaneDataOption())
    .addOption(besideDatabaseOption())
    .action(async (options: PlaceOptions) => {
      const { issueJoinToken } = await import("./join-token/join-token.ts");
      console.log(await issueJoinToken(placeOf(options)));
    });

  program
    .command("node")
    .description("run a node: it serves requests in its region")
    .requiredOption(
      "--control-plane <urls>",
      "such as https://control.example.com; of several with commas between them any is used",
    )
    .requiredOption("--region <code>", "where the node is, such as fra")
    .requiredOption("--data <folder>", "where its identity, state, blobs and data are kept")
    .option("--join <token>", "one-time token, needed only for the first start")
    .option("--name <name>", "unique in the fleet (default: the region)")
    .option("--port <port>", "port of the ingress on 127.0.0.1", parsePort, 4401)
    .addOption(
      new Option(
        "--ingress <which>",
        "what accepts requests; auto is haproxy where it is installed",
      )
        .choices(INGRESSES)
        .env("ATOLL_INGRESS")
        .default("auto"),
    )
    .option(
      "--memory-budget <MB>",
      "what workers may take together (default: half of the memory that there is)",
      parseMemoryBudget,
    )
    .option(
      "--kv-budget <MB>",
      "what the key-value store may take of the disk: past it, values are fetched when they are read (default: a tenth of the disk)",
      parseKvBudget,
    )
    .addOption(
      new Option("--metrics-port <port>", "answer GET /metrics on 127.0.0.1 (default: nowhere)")
        .env("ATOLL_METRICS_PORT")
        .argParser(parsePort),
    )
    .addOption(
      new Option("--egress-allow <host...>", "hosts that workers may reach at private addresses"),
    )
    .addOption(requireSandboxOption())
    .action(async (options) => {
      const { runNode } = await import("./node/node.ts");
      const { serveUntilStopped } = await import("./processes/serve-until-stopped.ts");
      serveUntilStopped(await runNode(options));
    });
}

function controlPlaneDataOption(): Option {
  return new Option("--data <folder>", "the control plane's data folder (default: in ATOLL_DATA)");
}

function controlPlaneData(given: string | undefined): string {
  return given ?? join(readSettings(process.env).dataDirectory, "control-plane");
}

interface PlaceOptions {
  readonly data: string | undefined;
  readonly database?: string;
}

function placeOf({ data, database }: PlaceOptions): DatabasePlace {
  return { dataDirectory: controlPlaneData(data), databaseUrl: database };
}

async function findVariables(): Promise<WranglerEnvironment> {
  const { requireWranglerEnvironment } = await import("./wrangler-environment.ts");
  const { dataDirectory } = readSettings(process.env);
  return requireWranglerEnvironment({ environment: process.env, dataDirectory });
}

function requireSandboxOption(): Option {
  const description = "refuse to run where this host can't confine workers fully";
  return new Option("--require-sandbox", description).default(false);
}
