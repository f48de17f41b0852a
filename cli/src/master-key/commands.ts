import type { Command, Option } from "commander";

const HELP = `
With a key file nothing else is to do: a running control plane takes note by itself. With ATOLL_MASTER_KEY first put the
new key before the old one, separated by a comma, start every control plane again with it, and run this with the same.
A run that was interrupted is finished by the next. docs/backup.md says more.`;

/** `atoll master-key`: what secrets are sealed with. */
export function addMasterKeyCommands(
  program: Command,
  data: { readonly option: () => Option; readonly folder: (given: string | undefined) => string },
): void {
  const masterKey = program.command("master-key").description("the key that seals all secrets");
  masterKey
    .command("status")
    .description("show which master keys there are, and how many secrets need which")
    .addOption(data.option())
    .action(async (options: { data?: string }) => {
      const { masterKeyStatus } = await import("./master-key.ts");
      console.log(await masterKeyStatus(data.folder(options.data)));
    });
  masterKey
    .command("rotate")
    .description("replace the master key; the control plane may be running")
    .addOption(data.option())
    .addHelpText("after", HELP)
    .action(async (options: { data?: string }) => {
      const { rotateMasterKey } = await import("./master-key.ts");
      console.log(await rotateMasterKey(data.folder(options.data)));
    });
}
