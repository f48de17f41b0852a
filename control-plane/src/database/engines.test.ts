import { afterAll } from "vitest";
import { ENGINES, type TestEngine } from "../test-support/test-engines.ts";
import { describeDayView } from "../usage/day-view.conformance.ts";
import { describeKvCharges } from "../usage/kv-charges.conformance.ts";
import { describeDatabase } from "./database.conformance.ts";

// Every suite of what has to be the same on all engines: starting one takes longer than most tests.
for (const [name, start] of Object.entries(ENGINES)) {
  let started: Promise<TestEngine> | undefined;
  const engine = (): Promise<TestEngine> => (started ??= start());
  describeDatabase(name, engine);
  describeKvCharges(name, engine);
  describeDayView(name, engine);
  afterAll(async () => (await started)?.stop());
}
