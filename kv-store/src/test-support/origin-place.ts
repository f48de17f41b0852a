import { Key, type KvEntry, type KvOperation } from "../entry.ts";
import type { ManagedOrigin } from "../origin/administration.ts";
import type { LogHorizon } from "../origin/log-horizon.ts";
import type { ManualClock } from "./manual-clock.ts";

/** A place where one origin keeps its data, for one test. */
export interface OriginPlace {
  /** Opens the origin of this place; called again, after a close, it finds the same data. */
  open(clock: ManualClock, horizon?: LogHorizon): Promise<ManagedOrigin>;
  /** Removes the data. */
  remove(): Promise<void>;
}

export function put(key: string, text: string, expiresAt?: number): KvOperation {
  const value = { kind: "inline", bytes: Buffer.from(text) } as const;
  const expiry = expiresAt === undefined ? {} : { expiresAt };
  return { kind: "put", key: Key.parse(key), value, metadata: `{"of":"${key}"}`, ...expiry };
}

export function remove(key: string): KvOperation {
  return { kind: "delete", key: Key.parse(key) };
}

export function textOf(entry: KvEntry | undefined): string | undefined {
  return entry?.value.kind === "inline" ? Buffer.from(entry.value.bytes).toString() : undefined;
}
