import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { CommandResult, TestAtoll } from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { accountPath } from "../support/refusal.ts";
import { RunningWrangler } from "../support/running-wrangler.ts";
import { fill, mismatch, normalise } from "./expected-lines.ts";
import { type Command, wordsOf } from "./story.ts";
import type { Telling } from "./telling.ts";
import { visit } from "./visit.ts";

// wrangler's script passes Ctrl-C on to its process, which the terminal has told already. On a slow machine the second
// one comes when it listens no more, and ends it just before its end.
const INTERRUPTED = 130;

/**
 * Runs a `wrangler tail`: makes the requests once it watches, and ends it as Ctrl-C does when it has written what it is
 * expected to, or has not for long. Rejected when anything of it is left then.
 */
export async function runUntilCtrlC(command: Command, telling: Telling): Promise<CommandResult> {
  const { atoll, project, release, names } = telling;
  const worker = names.get("worker") ?? "";
  const before = await countWatchers(atoll, worker);
  const wrangler = new RunningWrangler(atoll, {
    words: wordsOf(fill(command.line, names)),
    directory: project.directory,
    release,
  });
  try {
    const watches = async (): Promise<boolean> =>
      (await countWatchers(atoll, worker)) > before && hasSaidSo(command, wrangler);
    await eventually(async () => wrangler.hasEnded || (await watches()), {
      what: `'${command.line}' watches`,
      deadlineMs: 60_000,
    });
    for (const step of command.meanwhile) await visit(step, telling);
    // What is missing then, the comparison of all of it tells.
    await eventually(() => hasWritten(wrangler, command, telling), {
      what: "it writes what it should",
    }).catch(() => undefined);
    const result = await wrangler.end("SIGINT");
    await eventually(() => !wrangler.hasProcesses, { what: "no process of it is left" });
    await eventually(async () => (await countTails(atoll, worker)) === 0, {
      what: "no tail of it is left",
    });
    return result.exitCode === INTERRUPTED ? { ...result, exitCode: 0 } : result;
  } finally {
    await wrangler.end();
  }
}

/** In the format for people it says that it watches, a moment after it does. */
function hasSaidSo({ line }: Command, { stdout }: RunningWrangler): boolean {
  return !line.includes("--format pretty") || stdout.includes("waiting for logs");
}

function hasWritten(
  { stdout, stderr }: RunningWrangler,
  command: Command,
  { names }: Telling,
): boolean {
  const isRight = (actual: string, expected: ReadonlyArray<string>): boolean =>
    mismatch(normalise(actual), expected, new Map(names)) === undefined;
  const untilCtrlC = command.stdout.slice(0, command.linesUntilCtrlC);
  return isRight(stdout, untilCtrlC) && isRight(stderr, command.stderr);
}

/** How often somebody began to watch a worker. */
async function countWatchers({ dataDirectory }: TestAtoll, worker: string): Promise<number> {
  const log = await readFile(join(dataDirectory, "logs", "control-plane.log"), "utf8");
  const lines = log.split("\n").filter((line) => line.includes("somebody watches a worker"));
  return lines.filter((line) => line.includes(`/${worker}"`)).length;
}

async function countTails(atoll: TestAtoll, worker: string): Promise<number> {
  const { body } = await atoll.api(accountPath(atoll, `/workers/scripts/${worker}/tails`));
  return (JSON.parse(body) as { readonly result: ReadonlyArray<unknown> }).result.length;
}
