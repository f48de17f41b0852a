import { MoveError } from "@atoll/control-plane/move-mark";
import { createProgram } from "./program.ts";
import { UsageError } from "./settings.ts";

try {
  await createProgram().parseAsync(process.argv);
} catch (error) {
  // What the user can mend is one sentence; anything else is ours to mend and keeps its stack.
  const isMendable = error instanceof UsageError || error instanceof MoveError;
  if (isMendable) console.error(`atoll: ${error.message}`);
  else console.error(error);
  process.exitCode = 1;
}
