import { chmod, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import pino from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { makeTestDirectory } from "../cells/test-directory.ts";
import { installedWorkerdPath } from "../cells/workerd-host.ts";
import { openConfinement } from "./confinement.ts";

let directory: string;
let logged: string[];
const log = pino(
  { level: "warn" },
  { write: (line: string) => logged.push((JSON.parse(line) as { shortfall: string }).shortfall) },
);

beforeEach(async () => {
  directory = await makeTestDirectory("atoll-confinement-");
  logged = [];
});

afterEach(() => rm(directory, { recursive: true, force: true }));

/** A program in workerd's place that does not work in a sandbox. */
async function misfit(): Promise<string> {
  const path = join(directory, "workerd");
  await writeFile(path, "#!/bin/sh\nexit 0\n");
  await chmod(path, 0o755);
  return path;
}

test("confinement: this machine gives a sandbox", async () => {
  const confinement = await openConfinement({
    workerdPath: installedWorkerdPath(),
    owner: directory,
    log,
  });
  expect(confinement.sandbox.name).toBe("bubblewrap");
  expect(logged).toEqual(confinement.shortfalls);
  await confinement.groups?.close();
});

test("confinement: what can't be had is said once, with the reason, and is no sandbox", async () => {
  const confinement = await openConfinement({
    workerdPath: await misfit(),
    owner: directory,
    log,
  });
  expect(confinement.sandbox.name).not.toBe("bubblewrap");
  expect(confinement.shortfalls).toContainEqual(
    expect.stringContaining("cells run without a sandbox: "),
  );
  expect(logged).toEqual(confinement.shortfalls);
  await confinement.groups?.close();
});

test("confinement: what is required and can't be had is refused", async () => {
  const opening = openConfinement({
    workerdPath: await misfit(),
    owner: directory,
    isRequired: true,
    log,
  });
  await expect(opening).rejects.toMatchObject({
    code: "sandbox_missing",
    message: expect.stringContaining("cells run without a sandbox") as string,
  });
});
