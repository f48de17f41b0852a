import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, rm } from "node:fs/promises";
import type { Socket } from "node:net";
import { text } from "node:stream/consumers";
import { setImmediate as immediate } from "node:timers/promises";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import { expect, test } from "vitest";
import { readStartTicks } from "../cells/process-table.ts";
import { makeTestDirectory } from "../cells/test-directory.ts";
import type { LaunchedProcess } from "./launched-process.ts";
import { Launcher } from "./launcher.ts";
import type { Descriptor } from "./launcher-messages.ts";

const launcher = new Launcher();

/** Runs a line of the shell, with standard streams that we hold the other ends of. */
function shell(
  script: string,
  descriptors: ReadonlyArray<Descriptor> = ["socket", "socket", "socket"],
): Promise<LaunchedProcess> {
  const program = { file: "/bin/sh", args: ["-c", script], directory: "/", environment: {} };
  return launcher.launch({ ...program, descriptors });
}

function socketOf({ sockets }: LaunchedProcess, descriptor: number): Socket {
  const socket = sockets[descriptor];
  if (socket === undefined) throw new Error(`${descriptor} is no socket`);
  return socket;
}

/** What it has written by its end on a descriptor. */
function written(launched: LaunchedProcess, descriptor: number): Promise<string> {
  return text(socketOf(launched, descriptor));
}

/** What it writes next on its standard output. */
async function next(launched: LaunchedProcess): Promise<string> {
  const [chunk] = (await once(socketOf(launched, 1), "data")) as [Buffer];
  return String(chunk);
}

async function parentOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/^PPid:\s+(\d+)/m.exec(status)?.[1]);
}

test("launcher: a process has its streams, its directory, and no environment but its own", async () => {
  process.env["ATOLL_TEST_SECRET"] = "secret";
  try {
    const launched = await shell("pwd; env; cat >&2; exit 3");
    launched.sockets[0]?.end("from us");
    const [out, errors] = await Promise.all([written(launched, 1), written(launched, 2)]);
    expect(out).toMatch(/^\/\n/);
    expect(out).not.toContain("secret");
    expect(errors).toBe("from us");
    expect(await launched.ended).toEqual({ code: 3, signal: null });
    expect(await readFile(`/proc/${await launcherPid()}/environ`, "utf8")).not.toContain("secret");
  } finally {
    delete process.env["ATOLL_TEST_SECRET"];
  }
});

/** Of the process between. */
async function launcherPid(): Promise<number> {
  const launched = await shell("cat");
  const pid = await parentOf(launched.pid);
  launched.signal("SIGKILL");
  await launched.ended;
  return pid;
}

test("launcher: what a process wrote before it ended is read to its end, however much that is", async () => {
  const bytes = 3_000_000;
  const launched = await shell(`head -c ${bytes} /dev/zero; kill -TERM $$`);
  expect(await written(launched, 1)).toHaveLength(bytes);
  expect(await launched.ended).toEqual({ code: null, signal: "SIGTERM" });
});

test("launcher: the end of a process does not wait for who has paused what it wrote", async () => {
  // More than a stream reads ahead, and less than the kernel keeps, so that the process can end.
  const launched = await shell("head -c 150000 /dev/zero >&2");
  const stderr = socketOf(launched, 2);
  const pausing = setInterval(() => stderr.pause(), 1);
  try {
    expect(await launched.ended).toEqual({ code: 0, signal: null });
  } finally {
    clearInterval(pausing);
  }
});

test("launcher: bytes are what a process reads on a descriptor, and then their end", async () => {
  const bytes = new TextEncoder().encode("a filter");
  const launched = await shell("cat <&3", [new Uint8Array(), "socket", "socket", bytes]);
  expect(await written(launched, 1)).toBe("a filter");
});

test("launcher: starts at the same time don't take each other's streams", async () => {
  const names = Array.from({ length: 20 }, (_, index) => `name-${index}`);
  const said = names.map(async (name) => written(await shell(`echo ${name}; echo ${name} >&2`), 1));
  expect(await Promise.all(said)).toEqual(names.map((name) => `${name}\n`));
});

test("launcher: a process that has ended before we have its streams is read all the same", async () => {
  for (let round = 0; round < 3; round += 1) {
    const said = Array.from({ length: 10 }, async () => written(await shell("echo said"), 1));
    // They are asked for, and end while we stand still.
    await immediate();
    standStill(200);
    expect(await Promise.all(said)).toEqual(Array.from(said, () => "said\n"));
  }
});

/** Does nothing else meanwhile. */
function standStill(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

test("launcher: signals reach a process, or one that lives with it", async () => {
  const launched = await shell("trap 'echo told' USR1; sleep 60 & echo $!; wait; wait");
  const inner = Number(await next(launched));
  launched.signal("SIGUSR1");
  launched.signal("SIGTERM", inner);
  expect(await next(launched)).toContain("told");
  expect(await launched.ended).toMatchObject({ signal: null });
  await waitFor(async () => expect(await readStartTicks(inner)).toBeUndefined());
  // Nothing has its pid by now, or something else has.
  launched.signal("SIGKILL");
});

test("launcher: what can't be started is refused, and the next one starts", async () => {
  const program = { args: [], directory: "/", environment: {}, descriptors: ["socket"] as const };
  await expect(launcher.launch({ ...program, file: "/nowhere" })).rejects.toThrow(/ENOENT/);
  await expect(
    launcher.launch({ ...program, file: "/bin/true", directory: "/nowhere" }),
  ).rejects.toThrow(/ENOENT/);
  expect(await (await shell("exit 0")).ended).toEqual({ code: 0, signal: null });
});

test("launcher: when it is killed, what it has started ends, and another one starts the next", async () => {
  const told: number[] = [];
  const stopListening = launcher.onEnd((processes) => told.push(processes));
  const launched = await shell("echo running; exec cat");
  await next(launched);
  const pid = await parentOf(launched.pid);
  process.kill(pid, "SIGKILL");
  expect(await launched.ended).toEqual({ code: null, signal: "SIGKILL" });
  await waitFor(async () => expect(await readStartTicks(launched.pid)).toBeUndefined());
  expect(told).toEqual([1]);
  stopListening();
  const another = await shell("exec cat");
  expect(await parentOf(another.pid)).not.toBe(pid);
  another.signal("SIGKILL");
  expect(await another.ended).toEqual({ code: null, signal: "SIGKILL" });
});

test("launcher: a start that it is killed in the midst of is refused or ended, and never waits", async () => {
  const pid = await launcherPid();
  const starts = Array.from({ length: 10 }, () => shell("exec cat"));
  process.kill(pid, "SIGKILL");
  const ends = await Promise.allSettled(starts.map(async (start) => (await start).ended));
  const kinds = new Set(
    ends.map((end) => (end.status === "rejected" ? String(end.reason) : end.value.signal)),
  );
  for (const kind of kinds)
    expect(["SIGKILL", "Error: the process that starts others has ended"]).toContain(kind);
});

// Starts a process, tells of its launcher, and ends by itself when it is told to.
const PARENT = `
  const [module, then] = process.argv.slice(1);
  const { readFile } = await import("node:fs/promises");
  const { Launcher } = await import(module);
  const launched = await new Launcher().launch({ file: "/bin/sh", args: ["-c", "read line"], directory: "/",
    environment: {}, descriptors: ["socket", "socket"] });
  const status = await readFile("/proc/" + launched.pid + "/status", "utf8");
  console.log(/^PPid:\\s+(\\d+)/m.exec(status)[1]);
  if (then === "end") launched.sockets[0].end();
`;

test.each(["end", "be killed"])(
  "launcher: it goes with its parent, should that %s",
  async (then) => {
    const directory = await makeTestDirectory("atoll-launcher-");
    const module = import.meta.resolve("./launcher.ts");
    const parent = spawn(process.execPath, ["--input-type=module", "-e", PARENT, module, then], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { TMPDIR: directory },
    });
    try {
      const [line] = (await once(parent.stdout, "data")) as [Buffer];
      const exited = once(parent, "exit");
      if (then !== "end") parent.kill("SIGKILL");
      expect(await exited).toEqual(then === "end" ? [0, null] : [null, "SIGKILL"]);
      await waitFor(async () => expect(await readStartTicks(Number(String(line)))).toBeUndefined());
      expect(await readdir(directory)).toEqual([]);
    } finally {
      parent.kill("SIGKILL");
      await rm(directory, { recursive: true, force: true });
    }
  },
);

// Asks a launcher for processes where none can be started, and tells what it has open of the kernel's meanwhile.
const HELPLESS = `
  const [module] = process.argv.slice(1);
  const { readdir } = await import("node:fs/promises");
  const { Launcher } = await import(module);
  process.execPath = "/nowhere";
  const [launcher, program] = [new Launcher(), { file: "/bin/true", args: [], directory: "/", environment: {} }];
  const open = [];
  for (let round = 0; round < 3; round += 1) {
    await launcher.launch({ ...program, descriptors: [] }).catch(({ code }) => console.log(code));
    open.push((await readdir("/proc/self/fd")).length);
  }
  console.log(open[2] - open[0]);
`;

test("launcher: one that can't be started leaves nothing behind", async () => {
  const directory = await makeTestDirectory("atoll-launcher-");
  const module = import.meta.resolve("./launcher.ts");
  const parent = spawn(process.execPath, ["--input-type=module", "-e", HELPLESS, module], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { TMPDIR: directory },
  });
  try {
    expect(await text(parent.stdout)).toBe("ENOENT\nENOENT\nENOENT\n0\n");
    expect(await readdir(directory)).toEqual([]);
  } finally {
    parent.kill("SIGKILL");
    await rm(directory, { recursive: true, force: true });
  }
});
