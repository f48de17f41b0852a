// The launcher: plain JavaScript that Node 20 can run. It installs the locked dependencies when they
// are missing or older than the lockfile, then continues under a Node that runs TypeScript sources.
//
//   node scripts/launch.mjs <script.ts> [arguments]      run one of our scripts
//   node scripts/launch.mjs --bin <name> [arguments]     run a program of the dependencies
import { spawn, spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { constants } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
// Sources as Node has compiled them: what is started again, or as one of several processes, starts in two
// thirds of the time. Wrangler, which is started from here, too.
const compileCache = join(root, "node_modules", ".cache", "node");
// The first release that runs TypeScript by stripping types, without a flag.
const NODE_MINIMUM = [22, 18];

/** The dependencies are current when npm's own record of them is not older than the lockfile. */
function dependenciesAreCurrent() {
  const record = join(root, "node_modules", ".package-lock.json");
  return (
    existsSync(record) &&
    statSync(record).mtimeMs >= statSync(join(root, "package-lock.json")).mtimeMs
  );
}

function installDependencies() {
  console.error("atoll: installing the locked dependencies (npm ci), this takes about a minute …");
  const result = spawnSync("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd: root,
    stdio: ["ignore", 2, 2],
  });
  if (result.status !== 0) {
    console.error(
      "atoll: npm ci failed: see its message above. Check that npm reaches its registry and that the disk has 1 GB free, then run the command again.",
    );
    process.exit(1);
  }
}

/** The machine's own Node where it is new enough, else the one that came as a dependency. */
function modernNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > NODE_MINIMUM[0] || (major === NODE_MINIMUM[0] && minor >= NODE_MINIMUM[1])) {
    return process.execPath;
  }
  const packaged = join(root, "node_modules", `node-linux-${process.arch}`, "bin", "node");
  if (existsSync(packaged)) return packaged;
  console.error(
    `atoll: Node ${NODE_MINIMUM.join(".")} or newer is needed, this is ${process.versions.node}, and the dependencies hold none for ${process.platform} ${process.arch}. Install a newer Node and run the command again.`,
  );
  return process.exit(1);
}

/**
 * Continues as `program` and ends as it ends. Terminal signals reach the whole process group; one
 * that was sent to the launcher alone is passed on, so that stopping it always stops the program.
 */
function continueAs(program, programArguments, options) {
  const child = spawn(program, programArguments, { stdio: "inherit", ...options });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.on(signal, () => {
      // A terminal's Ctrl-C has already reached the child; a second one would mean "do not wait".
      if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
    });
  }
  child.on("error", (error) => {
    console.error(`atoll: could not run ${program}: ${error.message}`);
    process.exit(1);
  });
  child.on("exit", (code, signal) => {
    process.exit(signal === null ? (code ?? 1) : 128 + constants.signals[signal]);
  });
}

/**
 * Runs `script` (a path from the repository's root, or absolute) under a modern Node, which gets
 * `nodeArguments` for itself.
 */
export function launch(programArguments, nodeArguments = []) {
  if (!dependenciesAreCurrent()) installDependencies();
  const node = modernNode();
  const binaries = join(root, "node_modules", ".bin");
  // Programs of the dependencies start with `env node`: the modern one must come first.
  const path = [dirname(node), binaries, process.env.PATH].join(delimiter);
  const env = { NODE_COMPILE_CACHE: compileCache, ...process.env, PATH: path };
  const [first, ...rest] = programArguments;
  if (first === "--bin") return continueAs(join(binaries, rest[0]), rest.slice(1), { env });
  return continueAs(node, [...nodeArguments, resolve(root, first), ...rest], { env });
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  launch(process.argv.slice(2));
}
