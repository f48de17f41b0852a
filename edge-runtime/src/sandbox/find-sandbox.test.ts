import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { installedWorkerdPath } from "../cells/workerd-host.ts";

const run = promisify(execFile);

test("sandbox: is also found where fewer files may be open than a cell may have", async () => {
  const options = { workerdPath: installedWorkerdPath(), owner: "few files" };
  const script = `
    const { findSandbox } = await import(${JSON.stringify(join(import.meta.dirname, "find-sandbox.ts"))});
    const { sandbox, shortfall } = await findSandbox(${JSON.stringify(options)});
    console.log(JSON.stringify({ name: sandbox.name, shortfall }));
  `;
  const { stdout } = await run("/usr/bin/prlimit", [
    ...["--nofile=4096:4096", process.execPath],
    ...["--input-type=module", "--eval", script],
  ]);
  expect(JSON.parse(stdout)).toEqual({ name: "bubblewrap" });
});
