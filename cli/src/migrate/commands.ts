import type { Command, Option } from "commander";
import { blobStoreOption, s3EndpointOption } from "../blob-store.ts";
import { databaseOption } from "../database-place.ts";
import type { BucketAddress } from "../options.ts";

const HELP = `
Stop the control plane first; nodes go on to serve. Database and bucket have to be there and to be empty. All is read back and compared before
the folder is marked as moved; it stays as it is otherwise, and keeps the master key. A run that was interrupted is finished by the same command.
Then start the control plane with the same --database and --blob-store: nodes go on from where they are. docs/backup.md says more.`;

interface Options {
  readonly data?: string;
  readonly database?: string;
  readonly blobStore?: BucketAddress;
  readonly s3Endpoint?: string;
  readonly undo: boolean;
}

/** `atoll migrate`: what operators do when an installation outgrows its folder. */
export function addMigrateCommand(
  program: Command,
  data: { readonly option: () => Option; readonly folder: (given: string | undefined) => string },
): void {
  program
    .command("migrate")
    .description("move everything that the control plane keeps to PostgreSQL and a bucket of S3")
    .addOption(data.option())
    .addOption(databaseOption("postgres:// address of an empty database"))
    .addOption(blobStoreOption("an empty bucket, or a folder in one"))
    .addOption(s3EndpointOption())
    .option("--undo", "use a folder that was moved again, as it was then", false)
    .addHelpText("after", HELP)
    .action(async ({ data: given, ...options }: Options) => {
      const { migrate, undoMigrate } = await import("./migrate.ts");
      const folder = data.folder(given);
      console.log(await (options.undo ? undoMigrate(folder) : migrate({ ...options, folder })));
    });
}
