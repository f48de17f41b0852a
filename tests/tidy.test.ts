import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { ERROR_DOCUMENT, errorDocument } from "../scripts/error-document.ts";

const ROOT = join(import.meta.dirname, "..");
const TRACKED = execFileSync("git", ["ls-files", "-z", "-co", "--exclude-standard"], { cwd: ROOT })
  .toString()
  .split("\0")
  .filter((path) => path !== "");
const SOURCES = TRACKED.filter(
  (path) => /\.(ts|mjs)$/.test(path) && !path.startsWith("sites/examples/"),
);

/** What each package may import of ours, by its own name: the layering that keeps parts replaceable. */
const ALLOWED_IMPORTS: Readonly<Record<string, ReadonlyArray<string>>> = {
  "kv-store": [],
  "control-plane": [
    "@atoll/kv-store",
    "@atoll/kv-store/management",
    "@atoll/kv-store/postgres-channel",
    "@atoll/kv-store/transfer",
    // For tests, which share one clock.
    "@atoll/kv-store/manual-clock",
    // For tests of what is moved to there.
    "@atoll/kv-store/postgres",
    // For tests, which share one way to a database server.
    "@atoll/kv-store/test-support/postgres-proxy",
    "@atoll/kv-store/test-support/postgres-server",
    // For tests, which share one deadline.
    "@atoll/kv-store/test-support/wait-for",
  ],
  "edge-runtime": [
    "@atoll/kv-store",
    // For tests, which share one clock and one deadline.
    "@atoll/kv-store/manual-clock",
    "@atoll/kv-store/test-support/wait-for",
    "@atoll/control-plane/contract",
  ],
  sites: ["@atoll/kv-store", "@atoll/control-plane/contract"],
  cli: [
    "@atoll/kv-store",
    "@atoll/kv-store/management",
    "@atoll/kv-store/postgres",
    "@atoll/kv-store/transfer",
    "@atoll/control-plane",
    "@atoll/control-plane/contract",
    "@atoll/control-plane/file-lock",
    "@atoll/control-plane/move",
    "@atoll/control-plane/move-mark",
    "@atoll/control-plane/private-file",
    "@atoll/control-plane/s3",
    "@atoll/edge-runtime",
    "@atoll/edge-runtime/memory-budget",
    "@atoll/sites",
  ],
};
const LINES_MAX = 400;
// A table of tests grows by rows, not by concepts.
const TEST_LINES_MAX = 600;

function read(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

function importsOf(path: string): ReadonlyArray<string> {
  const matches = read(path).matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g);
  return [...matches].map((match) => match[1] ?? "");
}

test("tidy: packages import only what their layer may", () => {
  const offences = SOURCES.flatMap((path) => {
    const allowed = ALLOWED_IMPORTS[path.split("/")[0] ?? ""];
    if (allowed === undefined) return [];
    return importsOf(path)
      .filter((name) => name.startsWith("@atoll/") && !allowed.includes(name))
      .map((name) => `${path} imports ${name}`);
  });
  expect(offences).toEqual([]);
});

test("tidy: no relative import leaves its package", () => {
  const offences = SOURCES.flatMap((path) => {
    const home = path.split("/")[0] ?? "";
    if (ALLOWED_IMPORTS[home] === undefined) return [];
    return (
      importsOf(path)
        .filter((name) => name.startsWith("."))
        .filter((name) => !join(dirname(path), name).startsWith(`${home}/`))
        // The launcher is what starts the command, from outside every package.
        .filter((name) => !name.endsWith("scripts/launch.mjs"))
        .map((name) => `${path} imports ${name}`)
    );
  });
  expect(offences).toEqual([]);
});

test("tidy: no source file is longer than a reader can hold", () => {
  const long = SOURCES.map((path) => ({ path, lines: read(path).split("\n").length - 1 }))
    .filter(({ path, lines }) => lines > (path.includes(".test.") ? TEST_LINES_MAX : LINES_MAX))
    .map(({ path, lines }) => `${path}: ${lines} lines`);
  expect(long).toEqual([]);
});

test("tidy: no folder or file collects leftovers", () => {
  const vague = TRACKED.filter((path) =>
    /(^|\/)(utils?|helpers?|common|misc)(\/|\.[a-z]+$)/.test(path),
  );
  expect(vague).toEqual([]);
});

test("tidy: docs/errors.md is what the error tables say", () => {
  expect(readFileSync(ERROR_DOCUMENT, "utf8")).toBe(errorDocument());
});
