import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { openCellRoot } from "./cells/cell-root.ts";
import { letCellsPass } from "./sandbox/cell-user.ts";
import type { Sandbox } from "./sandbox/sandbox.ts";

/** Where a node's sockets and its cells are while it runs. */
export interface RunDirectories {
  readonly root: string;
  readonly sockets: string;
  readonly cells: string;
  readonly ingress: string;
}

/** Makes them; `root` is the caller's to remove. */
export async function openRunDirectories(
  dataDirectory: string,
  sandbox: Sandbox,
): Promise<RunDirectories> {
  const root = await openCellRoot(join(dataDirectory, "run"), sandbox);
  await letCellsPass(root, sandbox);
  const sockets = join(root, "sockets");
  // Sockets of an earlier run would refuse the address; cells of an earlier run are the host's to end.
  await rm(sockets, { recursive: true, force: true });
  await mkdir(sockets, { recursive: true, mode: 0o700 });
  return { root, sockets, cells: join(root, "cells"), ingress: join(root, "ingress") };
}

/** Keeps what the node stores from everybody else on the machine, cells that broke out included. */
export async function hideData(dataDirectory: string): Promise<void> {
  for (const name of ["blobs", "configs", "kv", "sites", "state", "usage"]) {
    const directory = join(dataDirectory, name);
    await mkdir(directory, { recursive: true });
    await chmod(directory, 0o700);
  }
}

/**
 * Where configs are compiled, with secrets in the clear: in memory, so that these reach no disk, under a
 * name that only this data directory gives; below the data where the system has no such place.
 */
export function scratchDirectoryOf(dataDirectory: string): string {
  const inMemory = "/dev/shm";
  if (!existsSync(inMemory)) return join(dataDirectory, "compile");
  const name = createHash("sha256").update(dataDirectory).digest("hex").slice(0, 12);
  return join(inMemory, `atoll-${name}`);
}
