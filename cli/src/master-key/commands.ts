import type { DatabasePlace } from "@atoll/control-plane";
import type { Command, Option } from "commander";
import { besideDatabaseOption } from "../database-place.ts";

const HELP = `
With a key file nothing else is to do: a running control plane takes note by itself. With ATOLL_MASTER_KEY first put the
new key before the old one, separated by a comma, start every control plane again with it, and run this with the same.
A run that was interrupted is finished by the next. docs/backup.md says more.`;

interface Place {
  readonly data: string | undefined;
  readonly database?: string;
}

/** `atoll master-key`: what secrets are sealed with. */
export function addMasterKeyCommands(
  program: Command,
  data: { readonly option: () => Option; readonly place: (given: Place) => DatabasePlace },
): void {
  const masterKey = program.command("master-key").description("the key that seals all secrets");
  masterKey
    .command("status")
    .description("show which master keys there are, and how many secrets need which")
    .addOption(data.option())
    .addOption(besideDatabaseOption())
    .action(async (options: Place) => {
      const { masterKeyStatus } = await import("./master-key.ts");
      console.log(await masterKeyStatus(data.place(options)));
    });
  masterKey
    .command("rotate")
    .description("replace the master key; the control plane may be running")
    .addOption(data.option())
    .addOption(besideDatabaseOption())
    .addHelpText("after", HELP)
    .action(async (options: Place) => {
      const { rotateMasterKey } = await import("./master-key.ts");
      console.log(await rotateMasterKey(data.place(options)));
    });
}
