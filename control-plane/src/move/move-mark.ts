import { existsSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { replaceDurably, sync } from "../durable-path.ts";

/** A move that can't be made, or what a move forbids. Its message is for the operator. */
export class MoveError extends Error {
  override readonly name = "MoveError";
}

/** How much was moved. */
const MoveSummary = z.object({
  tables: z.number(),
  rows: z.number(),
  namespaces: z.number(),
  keys: z.number(),
  /** Of code and files, and of the key-value store. */
  blobs: z.number(),
  values: z.number(),
});
export type MoveSummary = z.infer<typeof MoveSummary>;

/** What is left in a data folder whose installation was moved elsewhere. */
const MoveMark = z.object({
  format: z.literal(1),
  installation: z.string(),
  movedAt: z.string(),
  /** For people: the address without what it is opened with. */
  database: z.string(),
  blobStore: z.string(),
  summary: MoveSummary,
});
export type MoveMark = z.infer<typeof MoveMark>;

const MOVE_FILE = "moved.json";

/** Throws a `MoveError` when there is one that can't be read. */
export function readMoveMark(dataDirectory: string): MoveMark | undefined {
  const path = join(dataDirectory, MOVE_FILE);
  if (!existsSync(path)) return undefined;
  try {
    return MoveMark.parse(JSON.parse(readFileSync(path, "utf8")));
  } catch (cause) {
    throw new MoveError(`${path} can't be read: it says where the installation was moved`, {
      cause,
    });
  }
}

/** Resolves when it is on disk, as a whole. */
export async function writeMoveMark(dataDirectory: string, mark: MoveMark): Promise<void> {
  await replaceDurably(join(dataDirectory, MOVE_FILE), `${JSON.stringify(mark, null, 2)}\n`);
}

export async function removeMoveMark(dataDirectory: string): Promise<void> {
  await rm(join(dataDirectory, MOVE_FILE), { force: true });
  await sync(dataDirectory);
}

/**
 * Throws a `MoveError` when what the folder holds was moved elsewhere: nodes have gone on from there, and must not be
 * led back to what they have left.
 */
export function requireNotMoved(dataDirectory: string): void {
  const mark = readMoveMark(dataDirectory);
  if (mark === undefined) return;
  const { movedAt, database, blobStore } = mark;
  throw new MoveError(
    `What ${dataDirectory} holds was moved on ${movedAt} to ${database} and ${blobStore}: start with --database and --blob-store. To go back to the folder as it was then, stop all that uses those, and run 'atoll migrate --undo'`,
  );
}
