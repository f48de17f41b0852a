import { existsSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { open, type Database, type RootDatabase, type RootDatabaseOptions } from "lmdb";
import { LIMITS } from "../limits.ts";

// Keys and values are bytes as they are: LMDB then orders keys as UTF-8 orders them.
const BINARY = { keyEncoding: "binary", encoding: "binary" } as const;

/**
 * Rejected when the disk has no room for a new environment. LMDB maps files that it has only made longer, and where
 * their pages can't be had the process dies of the first use.
 */
export async function requireRoom(directory: string): Promise<void> {
  if (["data.mdb", "lock.mdb"].every((file) => existsSync(join(directory, file)))) return;
  const probe = join(directory, "room");
  try {
    await writeFile(probe, Buffer.alloc(LIMITS.replicaRoomBytesMin, 1));
  } finally {
    await rm(probe, { force: true });
  }
}

/** Opens or creates the environment in a directory. Throws when the files can't be used. */
export function openEnvironment(directory: string): RootDatabase<Buffer, Buffer> {
  return open({
    path: directory,
    noSubdir: false,
    ...BINARY,
    // Each turn of writes would have a promise of its own that nobody gets: when its commit fails, the process
    // ends of an unhandled rejection.
    eventTurnBatching: false,
    // What reads see would be synced only later: after a power cut a node would show older states, and after
    // an fsync that failed lmdb waits for ever.
    overlappingSync: false,
  });
}

/**
 * Whether LMDB has given up the files, reads included, until a process opens them anew. It does so when the page that
 * says where the newest state is could not be written: it can't know which of two states is on the disk. It says
 * so when it is asked for something the next time.
 */
export function hasGivenUp(root: RootDatabase<Buffer, Buffer>): boolean {
  try {
    root.resetReadTxn();
    root.getBinary(Buffer.from("none"));
    return false;
  } catch (error) {
    return error instanceof Error && error.message.includes("MDB_PANIC");
  }
}

/**
 * A database of bytes by bytes that shows keys and values where LMDB has put them: they are there until the next
 * read. A copy of each would be an allocation outside the heap, which costs more than all the rest of a read.
 */
export function openInPlace(
  root: RootDatabase<Buffer, Buffer>,
  name: string,
): Database<Buffer, Buffer> {
  const keyEncoder = {
    writeKey: (key: Buffer, target: Buffer, start: number) => start + key.copy(target, start),
    readKey: (source: Buffer, start: number, end: number) => viewOf(source, start, end),
  };
  const encoder = {
    encode: (bytes: Buffer) => bytes,
    decode: (bytes: Buffer) => viewOf(bytes, 0, bytes.length),
  };
  // A `keyEncoding` would be taken instead.
  const options: RootDatabaseOptions = { encoding: "binary", keyEncoder, encoder };
  return root.openDB({ name, ...options });
}

/** `subarray` would ask the bytes for their length, of which LMDB's own say another. */
function viewOf({ buffer, byteOffset }: Buffer, start: number, end: number): Buffer {
  return Buffer.from(buffer, byteOffset + start, end - start);
}

/**
 * Resolves when all that the action writes is on disk and seen by reads; nothing of it is kept when it throws
 * or the commit fails. Transactions go in the order of the calls.
 */
export async function transact<Result>(
  root: RootDatabase<Buffer, Buffer>,
  action: () => Result,
): Promise<Result> {
  try {
    // LMDB's plain `transaction` shares its commit with others, and keeps what was written before a throw.
    return await root.childTransaction(action);
  } catch (error) {
    throw await commitError(error);
  }
}

/** Why a commit failed. LMDB's error has a promise of that, which would end the process if nobody looked. */
async function commitError(error: unknown): Promise<unknown> {
  const { commitError: reason } = error as { readonly commitError?: Promise<never> };
  if (reason === undefined) return error;
  const known = reason.catch((cause: unknown) => cause);
  // It is there at once, or never.
  return Promise.race([known, new Promise((resolve) => setImmediate(() => resolve(error)))]);
}
