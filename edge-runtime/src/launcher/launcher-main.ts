// The launcher: a process that does nothing but start others. It has to stay small, because each start copies
// what describes its memory; so it imports next to nothing.
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { Socket } from "node:net";
import { dirname } from "node:path";
import type { Writable } from "node:stream";
import {
  encodePreamble,
  type Descriptor,
  type Order,
  type Program,
  type Report,
  type SocketName,
} from "./launcher-messages.ts";

const [socketPath = ""] = process.argv.slice(2);
const running = new Map<number, ChildProcess>();

process.title = "atoll-launcher";
process.on("message", (order: Order) => void take(order)); // nobody but our parent sends any
// Our parent is gone. With us, the kernel ends all that were started to end with us.
process.on("disconnect", () => {
  rmSync(dirname(socketPath), { recursive: true, force: true });
  process.exit();
});
// A service manager tells all processes of a service to end. Our parent may still need us for that.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => undefined);

async function take(order: Order): Promise<void> {
  const { id } = order;
  if (order.kind === "start") {
    await start(id, order.program).catch((error: unknown) =>
      tell({ kind: "failed", id, reason: error instanceof Error ? error.message : String(error) }),
    );
    return;
  }
  // Until its end was noted here, nothing else has its pid.
  if (!running.has(id)) return;
  try {
    process.kill(order.pid, order.signal);
  } catch {
    // It is gone, and its end is about to be noted.
  }
}

async function start(id: number, program: Program): Promise<void> {
  const { file, args, directory, environment, user, descriptors } = program;
  const stdio = descriptors.map((each) => (each === "socket" ? new Socket() : "pipe"));
  const sockets = stdio.map((each) => (each === "pipe" ? undefined : each));
  try {
    await Promise.all(sockets.map((socket, descriptor) => connected(socket, { id, descriptor })));
    const child = spawn(file, args, {
      cwd: directory,
      env: environment,
      stdio,
      // A session of its own: Ctrl-C in a terminal is for our parent.
      detached: true,
      ...(user === undefined ? {} : { uid: user, gid: user }),
    });
    await once(child, "spawn");
    running.set(id, child);
    child.once("exit", (code, signal) => {
      running.delete(id);
      tell({ kind: "ended", id, code, signal });
    });
    // It has run since `spawn` returned.
    tell({ kind: "started", id, pid: child.pid ?? 0 });
    writeInputs(child, descriptors);
  } finally {
    // The program has its own copies.
    for (const socket of sockets) socket?.destroy();
  }
}

/** Leads a socket to our parent, and reads nothing of it. */
function connected(socket: Socket | undefined, name: SocketName): Promise<void> {
  return new Promise((resolve, reject) => {
    if (socket === undefined) return resolve();
    socket.pause();
    socket.once("error", reject);
    socket.connect(socketPath);
    socket.write(encodePreamble(name), (error) => (error ? reject(error) : resolve()));
  });
}

function writeInputs(child: ChildProcess, descriptors: ReadonlyArray<Descriptor>): void {
  for (const [index, descriptor] of descriptors.entries()) {
    if (descriptor === "socket") continue;
    const input = child.stdio[index] as Writable; // a pipe, as was asked for
    // It may end before it has read all.
    input.on("error", () => undefined).end(descriptor);
  }
}

function tell(report: Report): void {
  // Without a parent there is nobody to tell, and `disconnect` follows.
  process.send?.(report, undefined, {}, () => undefined);
}
