import { createProgram } from "./program.ts";
import { toldFailure } from "./told-failure.ts";

try {
  await createProgram().parseAsync(process.argv);
} catch (error) {
  console.error(toldFailure(error));
  process.exitCode = 1;
}
