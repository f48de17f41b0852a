import { ALL_RELEASES, type WranglerRelease } from "../support/atoll.ts";

/** One run of wrangler, and what must come of it. */
export interface Command {
  readonly kind: "command";
  readonly line: string;
  readonly input: string | undefined;
  /** Variables of the environment that it does not get. */
  readonly unset: ReadonlyArray<string>;
  readonly exitCode: number;
  readonly stdout: ReadonlyArray<string>;
  readonly stderr: ReadonlyArray<string>;
  /** What is requested while it runs. */
  readonly meanwhile: ReadonlyArray<Visit>;
  /** For one that runs until Ctrl-C: how many lines of `stdout` come before that. */
  readonly linesUntilCtrlC: number | undefined;
}

/** A file of the project, written when its turn comes. */
interface ProjectFile {
  readonly kind: "file";
  readonly path: string;
  readonly content: string;
}

/** A request to what was deployed, and its answer. */
export interface Visit {
  readonly kind: "visit";
  /** Without the base domain. */
  readonly host: string;
  readonly path: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly status: number;
  readonly body: string;
}

export type Step = Command | ProjectFile | Visit;

/** What a file of `stories/` tells, for one release of wrangler; README.md has the form. */
export interface Story {
  /** Whether it is told in the everyday run. */
  readonly isEveryday: boolean;
  readonly steps: ReadonlyArray<Step>;
}

/** Throws, naming the line, for what is not of the form. */
export function readStory(text: string, release: WranglerRelease): Story {
  const steps: Step[] = [];
  let isEveryday = false;
  for (const [index, written] of text.split("\n").entries()) {
    const line = lineOf(release, written);
    if (line === undefined || line === "" || line.startsWith("#")) continue;
    if (line === "everyday") isEveryday = true;
    else if (!readStep(line, steps)) {
      throw new Error(`line ${index + 1} is nothing that a story holds: ${written}`);
    }
  }
  for (const step of steps) {
    if (step.kind !== "command" || step.meanwhile.length === 0) continue;
    if (step.linesUntilCtrlC === undefined) throw new Error(`'${step.line}' has no end: ^C`);
  }
  return { isEveryday, steps };
}

/** A line, or what it is for this release; `undefined` for what is another's. */
function lineOf(release: WranglerRelease, written: string): string | undefined {
  const only = ALL_RELEASES.find((each) => written.startsWith(`${each}: `));
  if (only === undefined) return written;
  return only === release ? written.slice(only.length + 2) : undefined;
}

/** A command of which only its words are known. */
const NOTHING_MORE = {
  ...{ input: undefined, unset: [], exitCode: 0, stdout: [], stderr: [] },
  ...{ meanwhile: [], linesUntilCtrlC: undefined },
} as const;

/** Adds a step, or to the last one; false when the line is neither. */
function readStep(line: string, steps: Step[]): boolean {
  const [, mark = "", rest = ""] = /^(\S+) ?(.*)$/.exec(line) ?? [];
  const last = steps.at(-1);
  if (mark === "$") {
    steps.push({ kind: "command", line: rest, ...NOTHING_MORE });
  } else if (mark === "file") steps.push({ kind: "file", path: rest, content: "" });
  else if (mark === "GET") steps.push(readVisit(line));
  else if (last?.kind === "file" && mark === "|") {
    steps[steps.length - 1] = { ...last, content: `${last.content}${rest}\n` };
  } else if (last?.kind === "command") {
    const changed = changeCommand(last, mark, rest);
    if (changed === undefined) return false;
    steps[steps.length - 1] = changed;
  } else return false;
  return true;
}

function changeCommand(command: Command, mark: string, rest: string): Command | undefined {
  if (mark === "<") return { ...command, input: rest };
  if (mark === ">") return { ...command, stdout: [...command.stdout, rest] };
  if (mark === "!") return { ...command, stderr: [...command.stderr, rest] };
  if (mark === "unset") return { ...command, unset: rest.split(" ") };
  if (mark === "while") return { ...command, meanwhile: [...command.meanwhile, readVisit(rest)] };
  if (mark === "^C") return { ...command, linesUntilCtrlC: command.stdout.length };
  if (mark === "exit") return { ...command, exitCode: Number(rest) };
  return undefined;
}

function readVisit(text: string): Visit {
  const [, method, host, path, sent = "", status, body] =
    /^([A-Z]+) (\S+) (\S+)((?: [\w-]+:\S+)*) => (\d+) ?(.*)$/.exec(text) ?? [];
  if (method === undefined || host === undefined || path === undefined || body === undefined) {
    throw new Error(
      `a visit is 'GET <host> <path> [<header>:<value> …] => <status> <body>', not '${text}'`,
    );
  }
  const headers = Object.fromEntries(
    [...sent.matchAll(/([\w-]+):(\S+)/g)].map(([, name = "", value = ""]) => [name, value]),
  );
  return { kind: "visit", host, path, method, headers, status: Number(status), body };
}

/** As a shell takes a line apart, as far as stories need it: double quotes hold words together. */
export function wordsOf(line: string): ReadonlyArray<string> {
  return [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? "");
}
