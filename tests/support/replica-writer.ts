import { Key, LmdbReplica, NamespaceId, Revision, systemClock } from "@atoll/kv-store";

// A process to be killed: stores one batch after another in the replica of the directory it is given, and
// says each revision once it is stored. Two keys of a batch hold its revision, so a torn one would show.
const [, , directory = ""] = process.argv;
const namespace = NamespaceId.parse("a".repeat(32));
const log = { info: () => {}, warn: () => {}, error: () => {} };
const replica = await LmdbReplica.open({ directory, clock: systemClock, log });

if (replica.revision(namespace) === undefined) {
  const revision = Revision.parse(0);
  await replica.store(namespace, { kind: "snapshot-start", revision });
  await replica.store(namespace, { kind: "snapshot-end", revision, through: null });
}
for (;;) {
  const after = replica.revision(namespace) ?? Revision.parse(0);
  const revision = Revision.parse(after + 2);
  const operations = ["first", "second"].map((key) => {
    const value = { kind: "inline", bytes: Buffer.from(String(revision)) } as const;
    return { kind: "put", key: Key.parse(key), value } as const;
  });
  await replica.store(namespace, { kind: "batch", after, revision, operations });
  process.stdout.write(`${revision}\n`);
}
