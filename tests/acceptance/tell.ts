import assert from "node:assert/strict";
import type { CommandResult, TestAtoll, WranglerRelease } from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { createProject } from "../support/project.ts";
import { fill, mismatch, normalise, type Names } from "./expected-lines.ts";
import { runUntilCtrlC } from "./run-until-ctrl-c.ts";
import { type Command, type Step, type Story, type Visit, wordsOf } from "./story.ts";
import type { Telling } from "./telling.ts";
import { visit } from "./visit.ts";

/** Does what a story says, step by step, in a project of its own. Resolves with all that is not so. */
export async function tell(
  atoll: TestAtoll,
  story: Story,
  { file, release }: { readonly file: string; readonly release: WranglerRelease },
): Promise<ReadonlyArray<string>> {
  const worker = `${file.replace(".story", "")}-${release.replace(".", "")}`;
  const names: Names = new Map([
    ["worker", worker],
    ["account", atoll.variables["CLOUDFLARE_ACCOUNT_ID"] ?? ""],
    ["token", atoll.variables["CLOUDFLARE_API_TOKEN"] ?? ""],
    ["port", String(atoll.regions.iad.port)],
    ["api", atoll.url],
  ]);
  const project = await createProject({});
  const wrong: string[] = [];
  try {
    for (const step of story.steps) {
      // What comes after it mostly says something of its own, and each run of wrangler takes seconds.
      await take(step, { atoll, project, release, names }).catch((error: unknown) =>
        wrong.push(String(error)),
      );
    }
  } finally {
    await project.remove();
  }
  return wrong;
}

async function take(step: Step, telling: Telling): Promise<void> {
  if (step.kind === "command") await runCommand(step, telling);
  else if (step.kind === "visit") await visitEventually(step, telling);
  else await telling.project.write(step.path, fill(step.content, telling.names));
}

async function runCommand(command: Command, telling: Telling): Promise<void> {
  const { names } = telling;
  const line = fill(command.line, names);
  const result = await (command.linesUntilCtrlC === undefined
    ? runToItsEnd(command, telling)
    : runUntilCtrlC(command, telling));
  const wrote = `${line}\nwrote:\n${result.stdout}\nand to its standard error:\n${result.stderr}`;
  assert.equal(result.exitCode, command.exitCode, `exit code of ${wrote}`);
  for (const stream of ["stdout", "stderr"] as const) {
    const wrong = mismatch(normalise(result[stream]), command[stream], names);
    assert.equal(wrong, undefined, `${stream} of ${wrote}`);
  }
}

function runToItsEnd(
  { line, unset, input }: Command,
  { atoll, project, release, names }: Telling,
): Promise<CommandResult> {
  return atoll.wrangler(project.directory, wordsOf(fill(line, names)), {
    release,
    environment: Object.fromEntries(unset.map((name) => [name, undefined])),
    ...(input === undefined ? {} : { input: fill(input, names) }),
  });
}

/** A visit to what a command has changed, which nodes may have to hear of first. */
async function visitEventually(step: Visit, telling: Telling): Promise<void> {
  let failure: unknown;
  await eventually(
    async () => {
      failure = await visit(step, telling).catch((error: unknown) => error);
      return failure === undefined;
    },
    { what: `GET ${step.host} ${step.path} is ${step.status} ${step.body}` },
  ).catch(() => {
    // Why the last one was wrong says more than that the time is over.
    throw failure;
  });
}
