import { setTimeout as wait } from "node:timers/promises";
import { systemClock } from "../clock.ts";
import { Key, type KvOperation } from "../entry.ts";
import { KvError } from "../errors.ts";
import { NamespaceId } from "../names.ts";
import { SqliteOrigin } from "../origin/sqlite-origin.ts";

// A process whose disk fails: writes to the database and namespace that it is given, some writes at a time,
// and says of each what came of it: `+ <key> <revision>` or `- <key> <code>`. Each write puts a key of its own,
// and counts up one that all of its lane share. No key of its own is used again.
const LANES = 6;
const PAUSE_MS = 10;
// From a part of a sector to several pages.
const SIZES = [10, 500, 3_000, 20_000];

const [, , path = "", id = "", name = ""] = process.argv;
const namespace = NamespaceId.parse(id);
const log = { info: () => {}, warn: () => {}, error: () => {} };
const origin = SqliteOrigin.open({ path, clock: systemClock, log });
await origin.createNamespace(namespace);

async function writeForever(lane: number): Promise<never> {
  for (let count = 0; ; count += 1) {
    const own = `${name}/${lane}/${count}`;
    const size = SIZES[count % SIZES.length] ?? 0;
    try {
      const written = [put(own, own.padEnd(size, ".")), put(`count/${lane}`, own)];
      const revision = await origin.write(namespace, written);
      process.stdout.write(`+ ${own} ${revision}\n`);
    } catch (error) {
      if (!(error instanceof KvError && error.retryable)) throw error;
      process.stdout.write(`- ${own} ${error.code}\n`);
      await wait(PAUSE_MS);
    }
  }
}

function put(key: string, text: string): KvOperation {
  const value = { kind: "inline", bytes: Buffer.from(text) } as const;
  return { kind: "put", key: Key.parse(key), value };
}

await Promise.all(Array.from({ length: LANES }, (_, lane) => writeForever(lane)));
