import type { Command, Option } from "commander";

const BACKUP_HELP = `
The control plane may be running, and under load. A backup holds both databases as of one moment, all blobs that they name, and the
master key unless it is in ATOLL_MASTER_KEY: whoever has it can read every secret. Nodes need no backup. docs/backup.md says more.`;

const RESTORE_HELP = `
Stop the control plane, move its data folder away, restore, and start it again: nodes follow by themselves, and get what was backed up
under a revision that is above all that they have seen. The backup stays as it is. docs/backup.md says what else comes back.`;

/** `atoll backup` and `atoll restore`: what operators do where the control plane runs. */
export function addBackupCommands(
  program: Command,
  data: { readonly option: () => Option; readonly folder: (given: string | undefined) => string },
): void {
  program
    .command("backup")
    .description("copy everything that the control plane keeps, while it runs, and verify the copy")
    .argument("<folder>", "where to; it must not be there yet, or be empty")
    .option("--without-key", "leave out the master key: you keep it elsewhere", false)
    .addOption(data.option())
    .addHelpText("after", BACKUP_HELP)
    .action(async (folder: string, options: { data?: string; withoutKey: boolean }) => {
      const { makeBackup } = await import("./backup.ts");
      const { withoutKey } = options;
      console.log(await makeBackup({ data: data.folder(options.data), folder, withoutKey }));
    });

  program
    .command("restore")
    .description("make the control plane's data folder from a backup")
    .argument("<folder>", "the backup")
    .addOption(data.option())
    .addHelpText("after", RESTORE_HELP)
    .action(async (folder: string, options: { data?: string }) => {
      const { restore } = await import("./restore.ts");
      const isOfUp = options.data === undefined;
      console.log(await restore({ data: data.folder(options.data), folder, isOfUp }));
    });
}
