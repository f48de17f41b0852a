import { Option, type Command } from "commander";
import { besideDatabaseOption } from "../database-place.ts";
import { parsePostgresUrl } from "../options.ts";
import type { KvApi } from "./api.ts";
import { parseMoment } from "../moment.ts";

const EXPORT_HELP = `
A dump is lines of JSON: a first one that says what it is of, one for each key, and a last one with their number.
docs/kv-operations.md describes it.`;

const RESTORE_HELP = `
The restore is ordinary new writes: nodes follow, and it can be taken back by restoring to the moment before it.
Keys that are written meanwhile keep what was written last. Entries that have expired since don't come back.`;

interface DataFolder {
  readonly option: () => Option;
  readonly folder: (given: string | undefined) => string;
}

/** `atoll kv`: what looks after namespaces. `findApi` finds the running Atoll. */
export function addKvCommands(
  program: Command,
  { findApi, data }: { readonly findApi: () => Promise<KvApi>; readonly data: DataFolder },
): void {
  const kv = program.command("kv").description("look after KV namespaces");
  addReadingCommands(kv, findApi);
  addWritingCommands(kv, findApi);
  addStoreCommands(kv, data);
}

function addReadingCommands(kv: Command, findApi: () => Promise<KvApi>): void {
  kv.command("status")
    .description("show namespaces, their copies on the nodes, and what the account may have")
    .argument("[namespace]", "this one alone: its id or title")
    .option("--json", "print JSON", false)
    .action(async (namespace: string | undefined, options: { json: boolean }) => {
      const { fetchKvStatus, formatKvStatus } = await import("./status.ts");
      const status = await fetchKvStatus(await findApi(), namespace);
      console.log(options.json ? JSON.stringify(status, null, 2) : formatKvStatus(status));
    });

  kv.command("check")
    .description(
      "compare the account's namespaces with themselves and every node's copy with them; exit code 1 if something differs",
    )
    .argument("[namespace]", "this one alone: its id or title")
    .option("--content", "read and hash large values, too", false)
    .option("--json", "print JSON", false)
    .action(async (namespace: string | undefined, options: { content: boolean; json: boolean }) => {
      const { checkKv, formatCheck, isSound } = await import("./check.ts");
      const check = await checkKv(await findApi(), { namespace, content: options.content });
      console.log(options.json ? JSON.stringify(check, null, 2) : formatCheck(check));
      if (!isSound(check)) process.exitCode = 1;
    });

  kv.command("export")
    .description("write all entries of a namespace, as of one moment, as lines of JSON")
    .argument("<namespace>", "its id or title")
    .argument("[file]", "standard output when there is none")
    .option("--at <time>", "as it was then: a date, or how long ago", (text) => parseMoment(text))
    .addHelpText("after", EXPORT_HELP)
    .action(async (namespace: string, file: string | undefined, options: { at?: Date }) => {
      const { exportNamespace } = await import("./export.ts");
      const entries = await exportNamespace(await findApi(), { namespace, file, at: options.at });
      console.error(`${entries} entries exported`);
    });
}

function addWritingCommands(kv: Command, findApi: () => Promise<KvApi>): void {
  kv.command("import")
    .description("write the entries of a dump into a namespace; other keys stay")
    .argument("<namespace>", "its id or title")
    .argument("[file]", "standard input when there is none")
    .addHelpText("after", EXPORT_HELP)
    .action(async (namespace: string, file: string | undefined) => {
      const { importNamespace } = await import("./import.ts");
      const { written, expired } = await importNamespace(await findApi(), { namespace, file });
      const left = expired === 0 ? "" : `; ${expired} had expired and were left out`;
      console.error(`${written} entries imported${left}`);
    });

  kv.command("restore")
    .description("give every key of a namespace what it held at a moment of the last days")
    .argument("<namespace>", "its id or title")
    .requiredOption("--at <time>", "a date, or how long ago, such as 90m", (text) =>
      parseMoment(text),
    )
    .option("--dry-run", "only say how many keys would change", false)
    .addHelpText("after", RESTORE_HELP)
    .action(async (namespace: string, options: { at: Date; dryRun: boolean }) => {
      const { formatRestore, restoreNamespace } = await import("./restore.ts");
      const restore = { ...options, namespace };
      console.log(formatRestore(await restoreNamespace(await findApi(), restore), restore));
    });
}

interface RecreateOptions {
  readonly data?: string;
  readonly database?: string;
  readonly kvDatabase?: string;
  readonly empty: boolean;
}

/** What operators do where the control plane runs. */
function addStoreCommands(kv: Command, data: DataFolder): void {
  const database = "postgres:// address of the database";
  kv.command("migrate")
    .description(
      "move all keys and values from the data folder to PostgreSQL; stop the control plane first",
    )
    .addOption(data.option())
    .addOption(
      new Option("--kv-database <url>", database)
        .env("ATOLL_KV_DATABASE")
        .argParser(parsePostgresUrl)
        .makeOptionMandatory(),
    )
    .action(async (options: { data?: string; kvDatabase: string }) => {
      const { migrateKv } = await import("./migrate.ts");
      console.log(await migrateKv({ ...options, data: data.folder(options.data) }));
    });

  kv.command("check-store")
    .description(
      "check the tables that hold the keys and values of all accounts; exit code 1 if something is wrong",
    )
    .addOption(data.option())
    .addOption(
      new Option("--kv-database <url>", database)
        .env("ATOLL_KV_DATABASE")
        .argParser(parsePostgresUrl),
    )
    .action(async (options: { data?: string; kvDatabase?: string }) => {
      const { checkStore } = await import("./check-store.ts");
      const findings = await checkStore({ ...options, data: data.folder(options.data) });
      console.log(findings.length === 0 ? "Nothing is wrong." : findings.join("\n"));
      if (findings.length > 0) process.exitCode = 1;
    });

  kv.command("recreate")
    .description(
      "when the store of keys and values is lost: show which namespaces it lacks, or make them anew",
    )
    .addOption(data.option())
    .addOption(besideDatabaseOption())
    .addOption(
      new Option("--kv-database <url>", database)
        .env("ATOLL_KV_DATABASE")
        .argParser(parsePostgresUrl),
    )
    .option("--empty", "make them anew, without their keys", false)
    .action(async (options: RecreateOptions) => {
      const { recreateKv } = await import("./recreate.ts");
      console.log(await recreateKv({ ...options, data: data.folder(options.data) }));
    });
}
