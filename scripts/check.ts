// `npm run check`: everything that a change needs and that takes seconds. `--fast` leaves out the tests.
import { runSteps, type Step } from "./steps.ts";

const STATIC: ReadonlyArray<Step> = [
  { name: "format", command: "oxfmt", arguments: ["--check", "."] },
  { name: "lint", command: "oxlint", arguments: ["--type-aware", "--deny-warnings"] },
  { name: "types", command: "tsc", arguments: ["-p", "."] },
  { name: "unused code and dependencies", command: "knip", arguments: [] },
];
const TESTS: ReadonlyArray<Step> = [
  {
    name: "unit and conformance tests",
    command: "vitest",
    arguments: ["run", "--project", "unit"],
  },
];

await runSteps(process.argv.includes("--fast") ? STATIC : [...STATIC, ...TESTS]);
