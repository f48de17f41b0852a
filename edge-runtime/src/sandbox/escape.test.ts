import { chmod, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import pino from "pino";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeCellDirectory } from "../cells/cell-directory.ts";
import { makeTestDirectory } from "../cells/test-directory.ts";
import { installedWorkerdPath } from "../cells/workerd-host.ts";
import { Bubblewrap } from "./bubblewrap.ts";
import { cellUser } from "./cell-user.ts";
import { ConfinedProcess } from "./confined-process.ts";
import { openConfinement, type Confinement } from "./confinement.ts";
import { seccompFilter, type Architecture } from "./seccomp-filter.ts";
import { sharedLibraries } from "./shared-libraries.ts";

// What native code could do in a cell after an error in workerd: perl stands in workerd's place, in the
// very same sandbox, and tries. On arm64 system calls have other numbers, but these attempts have none.

const PERL = "/usr/bin/perl";

let directory: string;
let confinement: Confinement;
let sandbox: Bubblewrap;
beforeAll(async () => {
  directory = await makeTestDirectory("atoll-escape-");
  const log = pino({ level: "silent" });
  const workerdPath = installedWorkerdPath();
  confinement = await openConfinement({ workerdPath, owner: directory, log });
  sandbox = new Bubblewrap({
    user: cellUser(directory),
    libraries: await sharedLibraries(PERL),
    filter: seccompFilter(process.arch as Architecture),
  });
  // A cell beside, and a secret of the node that anybody on the host could read.
  await makeCellDirectory(join(directory, "other"), sandbox);
  await writeFile(join(directory, "other", "secret"), "secret");
  await writeFile(join(directory, "secret"), "secret");
  await chmod(join(directory, "secret"), 0o644);
  await mkdir(join(directory, "site"));
  await writeFile(join(directory, "site", "index.html"), "page");
});
afterAll(async () => {
  await confinement.groups?.close();
  await rm(directory, { recursive: true, force: true });
});

let cells = 0;

interface Run {
  readonly end: string;
  readonly said: string;
}

/** Runs a perl program as if it were workerd; what it prints comes back. */
async function run(program: string): Promise<Run> {
  cells += 1;
  const id = `cell-${cells}`;
  const cell = join(directory, id);
  await makeCellDirectory(cell, sandbox);
  // Without a device to read it from, perl gets its program on standard input.
  const launch = sandbox.wrap({ file: PERL, args: ["-"] }, cell);
  const confined = await ConfinedProcess.start(launch, cell);
  let said = "";
  for (const stream of [confined.stdout, confined.stderr]) {
    stream.on("data", (chunk) => (said = (said + String(chunk)).slice(0, 10_000)));
  }
  confined.control.resume();
  await confinement.groups?.add(id, confined.pid);
  const memoryBytes = 64 * 1024 * 1024;
  await confinement.groups?.assign(id, { pid: confined.pid, account: "account", memoryBytes });
  confined.stdin.end(program);
  const { code, signal } = await confined.ended;
  await confinement.groups?.remove(id);
  return { end: signal ?? String(code), said };
}

/** Prints the numbers of the errors that attempts end with, or what they got. */
function tries(expression: string): Promise<Run> {
  return run(`my $r = ${expression}; print defined $r && $r ? "got $r" : "error " . ($!+0);`);
}

const EPERM = 1;
const ENOENT = 2;
const EACCES = 13;
const EFBIG = 27;
const EROFS = 30;

test("escape: the sandbox runs the program at all", async () => {
  expect(await run(`print "alive"`)).toEqual({ end: "0", said: "alive" });
});

test("escape: what a program complains of is read while it runs, however much that is", async () => {
  expect(await run(`print STDERR "x" x 1_000_000`)).toMatchObject({ end: "0" });
});

test("escape: files of the host and of other cells are not there", async () => {
  const paths = [
    "/etc/passwd",
    "/proc/1/environ",
    "/proc/self/root",
    "/sys/kernel",
    "/dev/mem",
    join(directory, "secret"),
    join(directory, "other", "secret"),
    "/cell/../secret",
    "/cell/../other/secret",
    "/tmp/../../secret",
  ];
  for (const path of paths) {
    expect(await tries(`open(my $f, "<", "${path}") ? <$f> : undef`), path).toMatchObject({
      said: `error ${ENOENT}`,
    });
  }
});

test("escape: nothing but the cell's directory and /tmp can be written", async () => {
  for (const path of ["/x", "/lib/x", "/proc/x", "/workerd", "/cell/sites/x"]) {
    const { said } = await tries(`open(my $f, ">", "${path}")`);
    expect([`error ${EROFS}`, `error ${EACCES}`, `error ${EPERM}`], path).toContain(said);
  }
  expect(await tries(`mkdir("/cell/x")`)).toMatchObject({ said: "got 1" });
});

test("escape: no file can be filled, so no disk can", async () => {
  for (const path of ["/cell/x", "/tmp/x"]) {
    const write = `open(my $f, ">", "${path}"); print defined syswrite($f, "x") ? "got" : $!+0;`;
    expect((await run(write)).said, path).toBe(`${EFBIG}`);
  }
});

test.runIf(process.arch === "x64")(
  "escape: no room of the disk can be taken beyond a file's end either",
  async () => {
    const { said } = await run(`
      open(my $f, ">", "/cell/x") or die;
      syscall(285, fileno($f), 1, 0, 50_000_000);
      print((stat("/cell/x"))[12] || "nothing");
    `);
    expect(said).toBe("nothing");
  },
);

test("escape: no program can be started and no process made", async () => {
  expect(await tries(`fork()`)).toMatchObject({ said: `error ${EPERM}` });
  expect((await run(`exec("/bin/sh") or print $!+0`)).said).toContain(`${ENOENT}`);
});

test("escape: no process can be signalled, on the host or beside", async () => {
  expect(await tries(`kill("KILL", ${process.pid})`)).toMatchObject({ said: `error ${EPERM}` });
  expect(await tries(`kill("KILL", -1)`)).toMatchObject({ said: `error ${EPERM}` });
});

test("escape: there is no network, not even to the machine itself", async () => {
  for (const family of [2, 10, 16, 17]) {
    expect(await tries(`socket(my $s, ${family}, 1, 0)`)).toMatchObject({ said: "error 97" });
  }
});

test("escape: sockets outside of the cell's directory can't be reached by any name", async () => {
  const dial = (path: string): Promise<Run> =>
    run(
      `socket(my $s, 1, 1, 0) or die; print connect($s, pack("Sa*", 1, "${path}")) ? "got" : $!+0;`,
    );
  expect((await dial("/run/dbus/system_bus_socket")).said).toBe(`${ENOENT}`);
  expect((await dial(join(directory, "other", "kv.sock"))).said.slice(0, 3)).toBe(`${ENOENT}`);
  // Abstract names belong to the network namespace, which is the cell's own.
  expect((await dial("\\0/tmp/.X11-unix/X0")).said).toBe("111");
});

test.runIf(process.arch === "x64").each([
  ["mount", "165, 0, 0, 0, 0, 0"],
  ["unshare", "272, 0x10000000"],
  ["ptrace", "101, 16, 1, 0, 0"],
  ["bpf", "321, 0, 0, 0"],
  ["keyctl", "250, 0, 0, 0, 0, 0"],
  ["kexec_load", "246, 0, 0, 0, 0"],
  ["setuid", "105, 0"],
])("escape: the system call %s ends the cell", async (_, call) => {
  expect(await run(`syscall(${call}); print "survived";`)).toEqual({ end: "SIGSYS", said: "" });
});

test("escape: memory is bounded, and only this process ends", async () => {
  if (confinement.groups?.limitsMemory !== true) return;
  const { end, said } = await run(`my $x = ""; $x .= "x" x 1_000_000 for 1 .. 1_000; print "got"`);
  expect({ end, said }).toEqual({ end: "SIGKILL", said: "" });
});

test("escape: descriptors are bounded", async () => {
  const { said } = await run(
    `my @all; while (socket(my $s, 1, 1, 0)) { push @all, $s } print $!+0, " ", scalar(@all) < 20_000 ? "few" : "many";`,
  );
  expect(said).toBe("24 few");
});
