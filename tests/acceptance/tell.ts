import assert from "node:assert/strict";
import type { TestAtoll, WranglerRelease } from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { createProject, type TestProject } from "../support/project.ts";
import { fill, matches, mismatch, normalise, type Names } from "./expected-lines.ts";
import type { Command, Step, Story, Visit } from "./story.ts";

interface Telling {
  readonly atoll: TestAtoll;
  readonly project: TestProject;
  readonly release: WranglerRelease;
  readonly names: Names;
}

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
  else if (step.kind === "visit") await visit(step, telling);
  else await telling.project.write(step.path, fill(step.content, telling.names));
}

async function runCommand(
  command: Command,
  { atoll, project, release, names }: Telling,
): Promise<void> {
  const line = fill(command.line, names);
  const result = await atoll.wrangler(project.directory, wordsOf(line), {
    release,
    environment: Object.fromEntries(command.unset.map((name) => [name, undefined])),
    ...(command.input === undefined ? {} : { input: fill(command.input, names) }),
  });
  const wrote = `${line}\nwrote:\n${result.stdout}\nand to its standard error:\n${result.stderr}`;
  assert.equal(result.exitCode, command.exitCode, `exit code of ${wrote}`);
  for (const stream of ["stdout", "stderr"] as const) {
    const wrong = mismatch(normalise(result[stream]), command[stream], names);
    assert.equal(wrong, undefined, `${stream} of ${wrote}`);
  }
}

async function visit(step: Visit, { atoll, names }: Telling): Promise<void> {
  const [host, path] = [fill(step.host, names), fill(step.path, names)];
  let seen = "";
  await eventually(
    async () => {
      const answer = await atoll.get("fra", `${host}.localhost`, path);
      seen = `${answer.status} ${answer.body.trim()}`;
      return matches(seen, `${step.status} ${step.body}`, names);
    },
    { what: `GET ${host} ${path} is ${step.status} ${step.body}` },
  ).catch((cause: unknown) => {
    throw new Error(`GET ${host} ${path} was ${seen}`, { cause });
  });
}

/** As a shell takes a line apart, as far as stories need it: double quotes hold words together. */
function wordsOf(line: string): ReadonlyArray<string> {
  return [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? "");
}
