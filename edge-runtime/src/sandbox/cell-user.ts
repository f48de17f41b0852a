import { createHash } from "node:crypto";
import { chmod, chown, stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { Sandbox } from "./sandbox.ts";

// Numbers that no distribution, and no container manager that is known, gives to anybody.
const FIRST_USER = 1_900_000_000;
const USERS = 100_000_000;

/**
 * The host's user for the cells of an owner: a number that only the owner's name gives. `undefined` when
 * the agent is not root and so has to start them as itself.
 */
export function cellUser(owner: string): number | undefined {
  if (process.getuid?.() !== 0) return undefined;
  return FIRST_USER + (createHash("sha256").update(owner).digest().readUInt32LE() % USERS);
}

/** Gives a cell's own directory to the sandbox's user, and to nobody else. */
export async function giveToCell(directory: string, sandbox: Sandbox): Promise<void> {
  if (sandbox.user !== undefined) await chown(directory, sandbox.user, sandbox.user);
  await chmod(directory, 0o700);
}

/** Lets the sandbox's user pass through a directory of ours, without being able to list it. */
export async function letCellsPass(directory: string, sandbox: Sandbox): Promise<void> {
  await chmod(directory, sandbox.user === undefined ? 0o700 : 0o711);
}

/** Whether the sandbox's user gets to a directory: every one above it lets others pass. */
export async function canCellsReach(directory: string, sandbox: Sandbox): Promise<boolean> {
  if (sandbox.user === undefined) return true;
  for (let path = dirname(directory); ; path = dirname(path)) {
    if (((await stat(path)).mode & 0o001) === 0) return false;
    if (path === dirname(path)) return true;
  }
}
