import { systemClock } from "../clock.ts";
import { Key } from "../entry.ts";
import { KvError } from "../errors.ts";
import { NamespaceId } from "../names.ts";
import { PostgresOrigin } from "../origin/postgres-origin.ts";

// A process to be killed: writes new keys to the namespace and database that it is given, some at a time,
// and says each with its revision once it is acknowledged. A key whose write failed is not used again.
const LANES = 4;
const PAUSE_MS = 20;

const [, , url = "", id = "", name = ""] = process.argv;
const namespace = NamespaceId.parse(id);
const log = { info: () => {}, warn: () => {}, error: () => {} };
const origin = await PostgresOrigin.open({ url, clock: systemClock, log });

async function writeForever(lane: number): Promise<never> {
  for (let count = 0; ; count += 1) {
    const key = Key.parse(`${name}/${lane}/${count}`);
    const value = { kind: "inline", bytes: Buffer.from(key) } as const;
    try {
      const revision = await origin.write(namespace, [{ kind: "put", key, value }]);
      process.stdout.write(`${key} ${revision}\n`);
    } catch (error) {
      if (!(error instanceof KvError && error.retryable)) throw error;
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }
}

await Promise.all(Array.from({ length: LANES }, (_, lane) => writeForever(lane)));
