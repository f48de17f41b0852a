import { ENGINES } from "../test-support/test-engines.ts";
import { describeDatabase } from "./database.conformance.ts";

for (const [name, start] of Object.entries(ENGINES)) describeDatabase(name, start);
