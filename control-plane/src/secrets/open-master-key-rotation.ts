import { join } from "node:path";
import type { DatabasePlace } from "../database/database.ts";
import { openDatabase } from "../database/open-database.ts";
import { takeFileLock } from "../file-lock.ts";
import { OperatorError } from "../operator-error.ts";
import { MASTER_KEY_FILE, MasterKeys } from "./master-keys.ts";
import { Rewrapping, type KeyUse } from "./rewrapping.ts";

/** What a rotation did. */
interface Rotation {
  /** `finished`: an earlier one had not come to its end, and has now; there is no further key. */
  readonly kind: "rotated" | "finished";
  /** Sealed records that were brought under the current key. */
  readonly records: number;
  readonly currentId: string;
}

/** The master keys of an installation, for a command beside its control plane, which may be running. */
export interface MasterKeyRotation {
  /** The keys' ids, the current one first, and how many sealed records need which. */
  status(): Promise<{ readonly ids: ReadonlyArray<string>; readonly use: KeyUse }>;
  /** Replaces the master key; with keys of the environment only brings everything under the first. See SEALING.md. */
  rotate(): Promise<Rotation>;
  close(): Promise<void>;
}

export async function openMasterKeyRotation(
  options: DatabasePlace & { readonly masterKey: string | undefined },
): Promise<MasterKeyRotation> {
  const { dataDirectory } = options;
  const database = await openDatabase(options);
  try {
    const file = join(dataDirectory, MASTER_KEY_FILE);
    const keys = await MasterKeys.load({ file, fromEnvironment: options.masterKey });
    const rewrapping = new Rewrapping({ database, keys });
    return {
      status: async () => ({
        ids: keys.all.map(({ id }) => id),
        use: await rewrapping.keyUse(),
      }),
      rotate: () => alone(`${file}.lock`, () => rotate(keys, rewrapping)),
      close: () => database.destroy(),
    };
  } catch (error) {
    await database.destroy();
    throw error;
  }
}

/** Runs while no other process does: two rotations at once could drop a key that the other one uses. */
async function alone<Result>(path: string, action: () => Promise<Result>): Promise<Result> {
  const lock = takeFileLock(path);
  if (lock === undefined)
    throw new OperatorError("The master key is being replaced by another process");
  try {
    return await action();
  } finally {
    lock.close();
  }
}

async function rotate(keys: MasterKeys, rewrapping: Rewrapping): Promise<Rotation> {
  const unfinished = await rewrapping.run();
  const currentId = keys.current.id;
  if (unfinished > 0 || !keys.isFile) return { kind: "finished", records: unfinished, currentId };
  // Nothing is under earlier keys: the current one is the only one that must stay.
  await keys.keepOnly([currentId]);
  await keys.addKey();
  return { kind: "rotated", records: await rewrapping.run(), currentId: keys.current.id };
}
