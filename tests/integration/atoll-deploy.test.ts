import { afterAll, beforeAll, expect, test } from "vitest";
import { REGIONS, startAtoll, type TestAtoll } from "../support/atoll.ts";
import { copyFixture, type TestProject } from "../support/project.ts";

let atoll: TestAtoll;
let project: TestProject;
beforeAll(async () => {
  [atoll, project] = await Promise.all([startAtoll(), copyFixture("echo")]);
});
afterAll(async () => {
  await project.remove();
  await atoll.stop();
});

test("atoll deploy: wrangler deploys, then each printed URL answers at once", async () => {
  const { output, exitCode } = await atoll.atoll(["deploy"], project.directory);
  expect(exitCode, output).toBe(0);
  expect(output).toContain("Current Version ID");
  const urls = [...output.matchAll(/^ {2}(iad|fra|nrt) {3}(http\S+)$/gm)];
  expect(urls.map(([, region]) => region)).toEqual(["fra", "iad", "nrt"]);
  for (const region of REGIONS) {
    const url = new URL(urls.find((row) => row[1] === region)?.[2] ?? "");
    expect(url.port).toBe(String(atoll.regions[region].port));
    const answer = await atoll.get(region, url.hostname, "/version");
    expect(answer).toMatchObject({ status: 200, body: "one" });
  }
});

test("atoll deploy: passes options on, and ends as wrangler ends", async () => {
  const dryRun = await atoll.atoll(["deploy", "--dry-run"], project.directory);
  expect(dryRun.exitCode, dryRun.output).toBe(0);
  expect(dryRun.output).not.toContain("is served at");
  await project.edit("src/index.js", { from: "export default", to: "throw 1; export default" });
  const failed = await atoll.atoll(["deploy", "--message", "broken"], project.directory);
  expect(failed.exitCode).toBe(1);
  expect(failed.output).toContain("10021");
});
