import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  Key,
  NamespaceId,
  SqliteOrigin,
  systemClock,
  type KvOperation,
  type Log,
} from "@atoll/kv-store";

export const NAMESPACE = NamespaceId.parse("b".repeat(32));
export const log: Log = {
  info: () => {},
  warn: () => {},
  error: (fields) => console.error(fields),
};

// A transaction of this many rows is short, and its commit costs little per row.
const FILL_OPERATIONS = 2_000;

/** A directory that ends with the benchmark. */
export async function temporaryDirectory(resources: AsyncDisposableStack): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "atoll-kv-bench-"));
  resources.defer(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** An origin with an empty namespace, as a control plane has it. */
export async function openOrigin(
  resources: AsyncDisposableStack,
  directory: string,
): Promise<SqliteOrigin> {
  const path = join(directory, "kv.sqlite");
  const origin = SqliteOrigin.open({ path, clock: systemClock, log });
  resources.defer(() => origin.close());
  await origin.createNamespace(NAMESPACE);
  return origin;
}

/** Writes so many keys with values of so many bytes, in the order of their numbers. */
export async function fill(
  origin: SqliteOrigin,
  { keys, valueBytes }: { readonly keys: number; readonly valueBytes: number },
): Promise<void> {
  for (let start = 0; start < keys; start += FILL_OPERATIONS) {
    const count = Math.min(FILL_OPERATIONS, keys - start);
    const puts = Array.from({ length: count }, (_, index) =>
      putOf(keyName(start + index), valueOf(start + index, valueBytes)),
    );
    await origin.write(NAMESPACE, puts);
  }
}

/** Names of which a thousand have each prefix of four digits. */
export function keyName(number: number): string {
  return `key/${String(number).padStart(7, "0")}`;
}

/** Bytes that are not alike, and are the same each time. */
export function valueOf(number: number, bytes: number): Buffer {
  const value = Buffer.alloc(bytes, String(number * 2_654_435_761));
  value.writeUInt32LE(number % 2 ** 32);
  return value;
}

export function putOf(name: string, bytes: Uint8Array): KvOperation {
  return { kind: "put", key: Key.parse(name), value: { kind: "inline", bytes } };
}
