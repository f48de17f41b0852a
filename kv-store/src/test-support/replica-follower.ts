import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { systemClock } from "../clock.ts";
import { Key, type KvOperation } from "../entry.ts";
import { KvError } from "../errors.ts";
import { NamespaceId } from "../names.ts";
import { SqliteOrigin } from "../origin/sqlite-origin.ts";
import { LmdbReplica } from "../replica/lmdb-replica.ts";
import { OriginServer } from "../replication/origin-server.ts";
import { ReplicaClient } from "../replication/replica-client.ts";
import { connectedChannels } from "./memory-channel.ts";

// A node whose disk fails: its replica, in a directory of its own, follows an origin that is written to all the
// time. Says again and again how far each is, and what came of a read. Ends when LMDB has given up.
const PAUSE_MS = 5;
/** The exit code that tells it from any other end. */
const GIVEN_UP = 70;
// Few keys, each of some pages now and then, so that old pages are used again.
const KEYS = 50;
const SIZES = [10, 500, 6_000];

const [, , directory = "", id = ""] = process.argv;
const namespace = NamespaceId.parse(id);
const clock = systemClock;
const log = { info: () => {}, warn: () => {}, error: () => {} };
const origin = SqliteOrigin.open({ path: join(directory, "kv.sqlite"), clock, log });
await origin.createNamespace(namespace);
const blobs = { has: async () => true, remove: async () => {} };
const server = new OriginServer({ origin, blobs, clock, log });
const replica = await LmdbReplica.open({
  directory: join(directory, "replica"),
  clock,
  log,
  onGivenUp: () => process.exit(GIVEN_UP),
});
const client = new ReplicaClient({ replica, clock, log });
const channels = connectedChannels();
server.accept(channels.origin);
client.setInterest([namespace]);
client.attach(channels.node);
await client.ready(namespace);

for (let count = 0; ; count += 1) {
  await origin.write(namespace, [put(count)]);
  await wait(PAUSE_MS);
  const { revision: head } = await origin.point(namespace);
  process.stdout.write(`${replica.revision(namespace) ?? 0} ${head} ${read(count)}\n`);
}

function put(count: number): KvOperation {
  const text = String(count).padEnd(SIZES[count % SIZES.length] ?? 0, ".");
  const value = { kind: "inline", bytes: Buffer.from(text) } as const;
  return { kind: "put", key: keyOf(count), value };
}

function keyOf(count: number): Key {
  return Key.parse(`key-${(count * 7) % KEYS}`);
}

function read(count: number): string {
  try {
    replica.get(namespace, keyOf(count));
    return "read";
  } catch (error) {
    return error instanceof KvError ? error.code : String(error);
  }
}
