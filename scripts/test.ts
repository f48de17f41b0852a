// `npm test`: every test, against real parts. Arguments go to vitest, such as a path to run alone.
import { runSteps } from "./steps.ts";
import { installPackages, TEST_PROGRAMS } from "./debian-packages.ts";

installPackages(TEST_PROGRAMS);
await runSteps([
  {
    name: "tests",
    command: "vitest",
    arguments: [
      "run",
      "--reporter=default",
      "--reporter=./scripts/closing-line-reporter.ts",
      ...process.argv.slice(2),
    ],
  },
]);
