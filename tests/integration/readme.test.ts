import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { findFreePorts } from "../support/free-ports.ts";

const ROOT = join(import.meta.dirname, "..", "..");

/** What the README's blocks start that this test starts itself, or that would start this test. */
const NOT_IN_THE_SESSION = ["npm start", "npm test"];

let parent: string;
let checkout: string;
let port: number;
let up: ChildProcess | undefined;
const output: string[] = [];

/** The machine's own environment: without the Node that came with the dependencies and runs this test. */
const ENVIRONMENT = {
  ...process.env,
  PATH: (process.env["PATH"] ?? "")
    .split(":")
    .filter((folder) => !folder.includes("node_modules"))
    .join(":"),
};

beforeAll(async () => {
  parent = await mkdtemp(join(tmpdir(), "atoll-readme-"));
  checkout = join(parent, "atoll");
  // As a fresh clone with its dependencies installed: the tracked files, and nothing that lies around.
  const files = execFileSync("git", ["ls-files", "-z", "-co", "--exclude-standard"], { cwd: ROOT });
  for (const file of files
    .toString()
    .split("\0")
    .filter((name) => name !== "")) {
    await cp(join(ROOT, file), join(checkout, file), { preserveTimestamps: true });
  }
  await symlink(join(ROOT, "node_modules"), join(checkout, "node_modules"));
  port = await findFreePorts(4);
  up = spawn("npm", ["start"], {
    cwd: checkout,
    env: { ...ENVIRONMENT, ATOLL_PORT: String(port), ATOLL_DATA: ".atoll" },
    stdio: ["ignore", "pipe", "pipe"],
    // A group of its own, to be interrupted as a terminal does it.
    detached: true,
  });
  up.stdout?.on("data", (piece: Buffer) => output.push(piece.toString()));
  up.stderr?.on("data", (piece: Buffer) => output.push(piece.toString()));
  await eventually(() => output.join("").includes("Ctrl-C stops everything"), {
    what: "npm start is ready",
    // Five processes of Node, and the example site's wrangler.
    deadlineMs: 180_000,
  }).catch((error: unknown) => {
    throw new Error(output.join(""), { cause: error });
  });
});
afterAll(async () => {
  if (up !== undefined) {
    const exited = once(up, "exit");
    process.kill(-(up.pid ?? 0), "SIGINT");
    await exited;
    // Everything in the group got the signal at once, as from a terminal: no end of a part is a crash.
    expect(output.join("")).not.toContain("starting it again");
  }
  await rm(parent, { recursive: true, force: true });
});

/** The lines of the README's shell blocks, in their order. */
async function readmeCommands(): Promise<ReadonlyArray<string>> {
  const text = await readFile(join(ROOT, "README.md"), "utf8");
  const blocks = [...text.matchAll(/^```sh\n(.*?)^```/gms)].map((block) => block[1] ?? "");
  return blocks
    .flatMap((block) => block.split("\n"))
    .map((line) => line.replace(/\s+#.*$/, "").trim())
    .filter((line) => line !== "");
}

/** Runs lines in one shell session, each announced, and stops at the first that fails. */
async function runSession(lines: ReadonlyArray<string>): Promise<string> {
  const moved = lines.map((line) =>
    line.replace(/localhost:440(\d)/g, (_, digit: string) => `localhost:${port + Number(digit)}`),
  );
  const script = moved.map((line) => `echo '$ ${line.replaceAll("'", "'\\''")}'\n${line}`);
  const shell = spawn("bash", ["-e", "-c", script.join("\n")], {
    cwd: checkout,
    env: { ...ENVIRONMENT, CI: "true", WRANGLER_SEND_METRICS: "false", NO_COLOR: "1" },
    stdio: ["pipe", "pipe", "pipe"],
  });
  const written: string[] = [];
  shell.stdout.on("data", (piece: Buffer) => written.push(piece.toString()));
  shell.stderr.on("data", (piece: Buffer) => written.push(piece.toString()));
  // What `wrangler secret put` reads.
  shell.stdin.end("hush\n");
  const [code] = (await once(shell, "close")) as [number];
  expect(code, written.join("")).toBe(0);
  return written.join("");
}

test("every command of the README works, in its order, in a fresh checkout", async () => {
  const commands = await readmeCommands();
  for (const known of NOT_IN_THE_SESSION) expect(commands).toContain(known);
  const session = commands.filter((line) => !NOT_IN_THE_SESSION.includes(line));
  expect(session.length).toBeGreaterThan(8);
  const written = await runSession(session);
  const afterPost = written.split("guestbook.localhost:").at(-1) ?? "";
  expect(afterPost).toContain("Hello from iad");
});

test("atoll status and --help tell what the README says", async () => {
  const written = await runSession([
    "npx atoll --help",
    "npx atoll up --help",
    "npx atoll status",
    "npx atoll status --json",
  ]);
  for (const word of ["iad", "fra", "nrt", "ATOLL_PORT", "control-plane", "join-token"]) {
    expect(written).toContain(word);
  }
});
