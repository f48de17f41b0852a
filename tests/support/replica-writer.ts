import { Key, LmdbReplica, NamespaceId, SqliteOrigin, systemClock } from "@atoll/kv-store";

// A process to be killed: stores one batch after another in the replica of the directory it is given, and
// says each revision once it is stored. Two keys of a batch hold its revision, so a torn one would show. The
// batches come from the log of an origin beside the directory, which says what state each leads to.
const [, , directory = ""] = process.argv;
const namespace = NamespaceId.parse("a".repeat(32));
const log = { info: () => {}, warn: () => {}, error: () => {} };
const clock = systemClock;
const origin = SqliteOrigin.open({ path: `${directory}.sqlite`, clock, log });
const replica = await LmdbReplica.open({ directory, clock, log });
await origin.createNamespace(namespace);

if (replica.point(namespace) === undefined) {
  const start = await origin.point(namespace);
  await replica.store(namespace, { kind: "snapshot-start", ...start });
  await replica.store(namespace, { kind: "snapshot-end", ...start, through: null });
}
for (;;) {
  const held = replica.point(namespace);
  if (held === undefined) throw new Error("the replica is empty");
  const page = await origin.readLog(namespace, held);
  if (page.kind !== "records") throw new Error(`the log is ${page.kind}`);
  const [first, second] = page.records;
  if (first === undefined || second === undefined) {
    const bytes = Buffer.from(String(held.revision + 2));
    const puts = ["first", "second"].map(
      (key) => ({ kind: "put", key: Key.parse(key), value: { kind: "inline", bytes } }) as const,
    );
    await origin.write(namespace, puts);
    continue;
  }
  const { revision, digest } = second;
  const operations = [first.operation, second.operation];
  const after = held.revision;
  await replica.store(namespace, { kind: "batch", after, revision, digest, operations });
  process.stdout.write(`${revision}\n`);
}
