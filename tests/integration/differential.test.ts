import { readdirSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  EVERYDAY_RELEASES,
  startAtoll,
  type TestAtoll,
  type WranglerRelease,
} from "../support/atoll.ts";
import { DIFFERENCES, type Difference, withoutDifferences } from "../support/differences.ts";
import { eventually } from "../support/eventually.ts";
import { EXAMPLE_SCRIPTS, type Script } from "../support/example-scripts.ts";
import { Client, type Exchange, type Target } from "../support/exchange.ts";
import { copyExample } from "../support/project.ts";
import { startWranglerDev } from "../support/wrangler-dev.ts";

const EXAMPLES = join(import.meta.dirname, "../../sites/examples");
// The one region that every request of a script goes to: what a script wrote, it reads at once.
const REGION = "iad";

let atoll: TestAtoll;
beforeAll(async () => {
  atoll = await startAtoll();
});
afterAll(() => atoll.stop());

const used = new Set<Difference>();

test("differential: every example has a script", () => {
  expect(Object.keys(EXAMPLE_SCRIPTS).toSorted()).toEqual(readdirSync(EXAMPLES).toSorted());
});

describe.each(Object.entries(EXAMPLE_SCRIPTS))("differential: %s", (example, script) => {
  let expected: ReadonlyArray<Exchange>;
  beforeAll(async () => {
    expected = comparable(example, await inWranglerDev(example, script));
  });

  test.each(EVERYDAY_RELEASES)(
    "deployed by wrangler %s, answers as in wrangler dev",
    async (release) => {
      const actual = comparable(example, await inAtoll({ example, script, release }));
      expect(actual).toHaveLength(expected.length);
      // Only what is unequal, or the report is too long to read.
      const unequal = actual.filter(
        (exchange, index) => !isDeepStrictEqual(exchange, expected[index]),
      );
      expect(unequal).toEqual(unequal.map((exchange) => expected[actual.indexOf(exchange)]));
    },
  );
});

test("differential: every listed difference still shows somewhere", () => {
  const unused = DIFFERENCES.filter((difference) => !used.has(difference));
  expect(unused.map(({ reason }) => reason)).toEqual([]);
});

function comparable(example: string, exchanges: ReadonlyArray<Exchange>): ReadonlyArray<Exchange> {
  const results = exchanges.map((exchange) => withoutDifferences(example, exchange));
  for (const difference of results.flatMap((result) => result.used)) used.add(difference);
  return results.map(({ exchange }) => exchange);
}

async function inWranglerDev(example: string, script: Script): Promise<ReadonlyArray<Exchange>> {
  const project = await copyExample(example);
  const dev = await startWranglerDev(project.directory);
  try {
    return await run(script, { url: dev.url });
  } finally {
    await dev.stop();
    await project.remove();
  }
}

async function inAtoll(options: {
  readonly example: string;
  readonly script: Script;
  readonly release: WranglerRelease;
}): Promise<ReadonlyArray<Exchange>> {
  const { example, script, release } = options;
  const project = await copyExample(example);
  try {
    // Each release deploys a worker of its own, with KV of its own: what the other wrote is not there.
    const name = `${example}-${release.replace(".", "-")}`;
    await project.edit("wrangler.jsonc", { from: `"name": "${example}"`, to: `"name": "${name}"` });
    const { exitCode, output } = await atoll.wrangler(project.directory, ["deploy"], { release });
    if (exitCode !== 0) throw new Error(`wrangler deploy failed:\n${output}`);
    const { url, port } = atoll.regions[REGION];
    const host = `${name}.localhost`;
    await eventually(
      async () => {
        const answer = await atoll.get(REGION, host, "/");
        return answer.headers["cf-ray"] !== undefined && answer.status < 400;
      },
      { what: `${example} is served in ${REGION}` },
    );
    const exchanges = await run(script, { url, host: `${host}:${port}` });
    // A route leads to one worker: the next release's could not have it.
    await atoll.wrangler(project.directory, ["delete", "--force"], { release });
    return exchanges;
  } finally {
    await project.remove();
  }
}

async function run(script: Script, target: Target): Promise<ReadonlyArray<Exchange>> {
  const client = new Client(target);
  await script(client);
  return client.exchanges;
}
