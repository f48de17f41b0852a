import { createWriteStream } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { once } from "node:events";
import type { Writable } from "node:stream";
import { finished } from "node:stream/promises";
import { LIMITS } from "@atoll/kv-store";
import { linesOf, parseDumpLine } from "@atoll/kv-store/management";
import { UsageError } from "../settings.ts";
import type { KvApi } from "./api.ts";
import { isSystemError } from "./dump-file.ts";
import { Progress } from "./progress.ts";

export interface ExportOptions {
  /** Id or title. */
  readonly namespace: string;
  /** Standard output when there is none. */
  readonly file: string | undefined;
  /** The state of this moment; of now when it is absent. */
  readonly at: Date | undefined;
}

/**
 * Writes a namespace as a dump, line after line as they come. A file appears when it is whole: until then it has
 * `.part` behind its name. Returns how many entries it has.
 */
export async function exportNamespace(api: KvApi, options: ExportOptions): Promise<number> {
  const { file, at } = options;
  const { id } = await api.find(options.namespace);
  const query = at === undefined ? "" : `?at=${encodeURIComponent(at.toISOString())}`;
  const response = await api.fetch(`/namespaces/${id}/export${query}`);
  const content = response.body ?? emptyStream();
  if (file === undefined) return copyDump(content, process.stdout);
  const part = `${file}.part`;
  const stream = createWriteStream(part, { mode: 0o600 });
  try {
    const entries = await copyDump(content, stream);
    stream.end();
    await finished(stream);
    await rename(part, file);
    return entries;
  } catch (error) {
    stream.destroy();
    await rm(part, { force: true });
    if (isSystemError(error)) throw new UsageError(error.message, { cause: error });
    throw error;
  }
}

async function copyDump(content: AsyncIterable<Uint8Array>, to: Writable): Promise<number> {
  const progress = new Progress();
  // A file that can't be written says so once, to whoever listens; every later write then fails as well.
  let failure: Error | undefined;
  to.on("error", (error) => (failure = error));
  let [entries, isWhole] = [0, false];
  try {
    for await (const line of linesOf(content, LIMITS.dumpLineBytesMax)) {
      if (failure !== undefined) throw failure;
      if (!to.write(`${line}\n`)) await room(to);
      // An entry's line begins with its key; the others are few, and short.
      if (line.startsWith('{"key":')) entries += 1;
      else isWhole = parseDumpLine(line).kind === "end";
      progress.show(`${entries} entries`);
    }
  } catch (cause) {
    throw new UsageError(
      `The export ended after ${entries} entries: ${reasonOf(failure ?? cause)}`,
      {
        cause,
      },
    );
  } finally {
    progress.end();
  }
  if (isWhole) return entries;
  throw new UsageError(`The export was cut after ${entries} entries: repeat it`);
}

/** Resolves when more may be written, or nothing any more. A dump waits as often as it has lines: no listener stays. */
async function room(to: Writable): Promise<void> {
  const over = new AbortController();
  const { signal } = over;
  try {
    await Promise.race([once(to, "drain", { signal }), once(to, "close", { signal })]);
  } finally {
    over.abort();
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function* emptyStream(): AsyncGenerator<Uint8Array> {}
