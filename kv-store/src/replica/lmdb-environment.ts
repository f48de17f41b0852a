import { open, type Database, type RootDatabase } from "lmdb";

// Keys and values are bytes as they are: LMDB then orders keys as UTF-8 orders them.
const BINARY = { keyEncoding: "binary", encoding: "binary" } as const;

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

/** A database of bytes by bytes. */
export function openBinary(
  root: RootDatabase<Buffer, Buffer>,
  name: string,
): Database<Buffer, Buffer> {
  return root.openDB({ name, ...BINARY });
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
    throw (await commitError(error)) ?? error;
  }
}

/**
 * Why a commit failed; `undefined` for any other error. lmdb tells it by a promise that the error carries,
 * which ends the process as an unhandled rejection when nobody waits for it.
 */
async function commitError(error: unknown): Promise<unknown> {
  if (!(error instanceof Error && "commitError" in error)) return undefined;
  try {
    return await error.commitError;
  } catch (cause) {
    return cause;
  }
}
