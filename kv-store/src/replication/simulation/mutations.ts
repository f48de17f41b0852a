/** A deliberate bug: a piece of the core that is there once, and what is put in its place. */
export interface Mutation {
  /** What is wrong then. */
  readonly name: string;
  /** Below `src/`. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

const BATCH = "replication/batch.ts";
const FRESHNESS = "replication/freshness.ts";
const ORIGIN_SESSION = "replication/origin-session.ts";
const ORIGIN_SUBSCRIPTION = "replication/origin-subscription.ts";
const PENDING_WRITES = "replication/pending-writes.ts";
const REPLICA_SESSION = "replication/replica-session.ts";
const REPLICA_SUBSCRIPTION = "replication/replica-subscription.ts";
const PARTIAL_ENTRY = "replica/partial-entry.ts";
const VALUE_READ = "front/value-read.ts";
const SEND_WINDOW = "replication/send-window.ts";
const STORES_IN_FLIGHT = "replication/stores-in-flight.ts";

/** Bugs of which the simulation has to find each. `npm run simulate -- --mutations` proves it. */
export const MUTATIONS: ReadonlyArray<Mutation> = [
  // What a node takes from its stream.
  {
    name: "a batch is taken whatever it continues",
    file: REPLICA_SUBSCRIPTION,
    find: "if (after !== expected) throw",
    replace: "if (expected === undefined) throw",
  },
  {
    name: "what was accepted is not remembered",
    file: REPLICA_SUBSCRIPTION,
    find: `      this.accepted = { revision, digest };
      return { kind: "batch"`,
    replace: `      return { kind: "batch"`,
  },
  {
    name: "a batch between pages goes to what is read, not to the snapshot",
    file: REPLICA_SUBSCRIPTION,
    find: `kind: "snapshot-batch", ...batch`,
    replace: `kind: "batch", ...batch`,
  },
  {
    name: "a snapshot is taken with pages missing",
    file: REPLICA_SUBSCRIPTION,
    find: "if (this.#collecting?.after !== after) throw",
    replace: "if (this.#collecting === null) throw",
  },
  {
    name: "a snapshot ends wherever it is",
    file: REPLICA_SUBSCRIPTION,
    find: "this.#collecting?.revision !== revision || this.#collecting.after !== through",
    replace: "this.#collecting === null",
  },
  {
    name: "a snapshot has no end for the node",
    file: REPLICA_SUBSCRIPTION,
    find: `    this.#collecting = null;
    this.accepted = { revision, digest };`,
    replace: "    this.accepted = { revision, digest };",
  },
  {
    name: "after a failed transaction what was in flight counts as stored",
    file: REPLICA_SUBSCRIPTION,
    find: "    this.accepted = this.applied;\n    this.#collecting = this.#collected;",
    replace: "",
  },
  {
    name: "after a failed transaction a snapshot goes on from what was in flight",
    file: REPLICA_SUBSCRIPTION,
    find: "    this.#collecting = this.#collected;",
    replace: "",
  },
  {
    name: "a namespace that is behind never asks again",
    file: REPLICA_SUBSCRIPTION,
    find: "return isBehind && time.nowMs - sinceMs >= LIMITS.replicaStallMs;",
    replace: "return false;",
  },
  {
    name: "a damaged body is taken as it came",
    file: BATCH,
    find: "if (actual !== expected.checksum) {",
    replace: "if (Number.isNaN(actual)) {",
  },
  {
    name: "a body counts as sound wherever it is put",
    file: BATCH,
    find: "crc32(body, crc32(JSON.stringify(place)))",
    replace: "crc32(body, place.length)",
  },

  // What a node does with it.
  {
    name: "a write is visible once it is durable",
    file: PENDING_WRITES,
    find: " && write.revision <= applied",
    replace: "",
  },
  {
    name: "a write is visible once any namespace came so far",
    file: PENDING_WRITES,
    find: "write.namespace === namespace && write.revision !== undefined",
    replace: "write.revision !== undefined",
  },
  {
    name: "a write waits for ever",
    file: PENDING_WRITES,
    find: "nowMs - sentMs > LIMITS.writeAnswerMs,",
    replace: "false,",
  },
  {
    name: "a silent link is not noticed by writes",
    file: PENDING_WRITES,
    find: "nowMs - Math.max(sentMs, echoMs) > LIMITS.originSilenceMs ||",
    replace: "",
  },
  {
    name: "a refused write is taken for made",
    file: REPLICA_SESSION,
    find: `const result = { kind: "failed", code, message: message.message } as const;`,
    replace: `const result = { kind: "visible", revision: code.length } as never;`,
  },
  {
    name: "a replica is as fresh as the latest heartbeat",
    file: FRESHNESS,
    find: "if (revision <= applied) this",
    replace: "if (revision >= 0) this",
  },
  {
    name: "freshness is never known",
    file: FRESHNESS,
    find: "if (revision <= applied) this",
    replace: "if (revision > applied) this",
  },
  {
    name: "what is in flight to the disk counts as processed",
    file: STORES_IN_FLIGHT,
    find: "return first === undefined ? sequence : first.sequence - 1;",
    replace: "return first === undefined ? sequence : sequence;",
  },
  {
    name: "bytes in flight to the disk are never given back",
    file: STORES_IN_FLIGHT,
    find: "    this.#bytes -= store?.bytes ?? 0;\n",
    replace: "",
  },
  {
    name: "a failed transaction is forgotten",
    file: REPLICA_SESSION,
    find: `    if (input.outcome !== "stored") this.#onStoreFailed(subscription, input.outcome);\n`,
    replace: "",
  },
  {
    name: "a broken subscription stays so",
    file: REPLICA_SESSION,
    find: "if (this.#nowMs < askedMs) return;",
    replace: "if (this.#nowMs >= 0) return;",
  },
  {
    name: "a broken subscription goes on while transactions are in flight",
    file: REPLICA_SESSION,
    find: `if (storing > 0 || standing === "gone") return;`,
    replace: `if (storing < 0 || standing === "gone") return;`,
  },
  {
    name: "damage is asked about again at once, however often",
    file: REPLICA_SESSION,
    find: "if (sinceMs >= LIMITS.replicaAskMs) return",
    replace: "if (sinceMs >= 0) return",
  },
  {
    name: "a namespace that is not wanted stays on the disk",
    file: REPLICA_SESSION,
    find: `subscription: subscription.id });
    this.#store(subscription, { kind: "drop" });`,
    replace: "subscription: subscription.id });",
  },
  {
    name: "a namespace that is gone stays on the disk",
    file: REPLICA_SESSION,
    find: `    subscription.forget();
    this.#store(subscription, { kind: "drop" });`,
    replace: "    subscription.forget();",
  },
  {
    name: "a snapshot that was cut begins anew",
    file: REPLICA_SESSION,
    find: "...(snapshot === null ? {} : { snapshot }),",
    replace: "",
  },
  {
    name: "a new connection is not asked for what is wanted",
    file: REPLICA_SESSION,
    find: `if (subscription.standing !== "broken") this.#ask(subscription);`,
    replace: `if (subscription.standing === "gone") this.#ask(subscription);`,
  },
  {
    name: "a silent origin is never given up",
    file: REPLICA_SESSION,
    find: "this.#nowMs - this.#heardMs > LIMITS.linkSilenceMs",
    replace: "this.#nowMs < this.#heardMs",
  },

  // What it holds that is not the origin's.
  {
    name: "damage that was found is not repaired",
    file: REPLICA_SESSION,
    find: `    subscription.distrust("damaged", this.#nowMs);\n`,
    replace: "",
  },
  {
    name: "a change that ends in another state counts as one that failed",
    file: REPLICA_SESSION,
    find: `if (outcome === "failed") {`,
    replace: `if (outcome !== "stored") {`,
  },
  {
    name: "what is held of another history counts for freshness and writes",
    file: REPLICA_SUBSCRIPTION,
    find: "return isForeign ? null : (",
    replace: 'return isForeign && this.standing === "gone" ? null : (',
  },
  {
    name: "a snapshot that was under way before counts as the repair",
    file: REPLICA_SUBSCRIPTION,
    find: "if (!isStored || this.repair !== repair) return;",
    replace: "if (!isStored) return;",
  },
  {
    name: "what was heard of another history counts for freshness",
    file: REPLICA_SESSION,
    find: "    subscription.freshness.forget();\n",
    replace: "",
  },

  // Values that are not there.
  {
    name: "a fetched value is shown whatever was written meanwhile",
    file: VALUE_READ,
    find: "const isCurrent = isUnchanged(before, look);",
    replace: "const isCurrent = true;",
  },
  {
    name: "a value that is gone is given up at once",
    file: VALUE_READ,
    find: "if (!isGone || look === undefined ||",
    replace: "if (isGone || look === undefined ||",
  },
  {
    name: "a value that is gone is not waited for",
    file: VALUE_READ,
    find: `return { kind: "wait", past: look.revision };`,
    replace: `return { kind: "wait", past: (look.revision - 1) as never };`,
  },
  {
    name: "a fetched value is stored whatever was written meanwhile",
    file: PARTIAL_ENTRY,
    find: "  if (!Buffer.from(held.value.digest).equals(fetched.digest)) return undefined;\n",
    replace: "",
  },
  {
    name: "a fetched value is stored as whatever it is",
    file: PARTIAL_ENTRY,
    find: "return entryDigest(encodeOperation(operation)).equals(fetched.digest) ? operation : undefined;",
    replace: 'return { ...operation, value: { kind: "inline", bytes: fetched.digest } };',
  },
  {
    name: "the digest of an entry without its value is not that of the entry",
    file: PARTIAL_ENTRY,
    find: "digest: entryDigest(encodeOperation(operation)),",
    replace: "digest: entryDigest(bytes),",
  },
  {
    name: "a partial namespace asks for all values",
    file: REPLICA_SESSION,
    find: "subscription.isPartial ? { valuesByReference: true } : {}",
    replace: "subscription.isPartial ? {} : {}",
  },
  {
    name: "a snapshot without values brings them",
    file: BATCH,
    find: "valuesByReference ? puts.map(withoutValue) : puts",
    replace: "valuesByReference ? puts : puts",
  },

  // What the origin sends.
  {
    name: "a live batch is sent whatever was sent before",
    file: ORIGIN_SESSION,
    find: "batch.after === subscription.sent && this.#window.hasRoom",
    replace: "this.#window.hasRoom",
  },
  {
    name: "live batches ignore the window",
    file: ORIGIN_SESSION,
    find: "batch.after === subscription.sent && this.#window.hasRoom",
    replace: "batch.after === subscription.sent",
  },
  {
    name: "reads ignore the window",
    file: ORIGIN_SESSION,
    find: "this.#reading !== undefined || !this.#window.hasRoom",
    replace: "this.#reading !== undefined",
  },
  {
    name: "commits of other control planes are never noticed",
    file: ORIGIN_SESSION,
    find: "if (subscription.isLive && point.revision > subscription.sent) {",
    replace: "if (point.revision < 0) {",
  },
  {
    name: "a heartbeat claims that its revisions were read after the latest ping",
    file: ORIGIN_SESSION,
    find: "const { echoMs, atMs } = input;",
    replace: "const { atMs } = input;\n    const echoMs = this.#echoMs;",
  },
  {
    name: "a write that comes again is made again",
    file: ORIGIN_SESSION,
    find: "    if (id <= this.#lastWrite) return;\n",
    replace: "",
  },
  {
    name: "a namespace that is gone is not told of",
    file: ORIGIN_SESSION,
    find: `    this.#send({ kind: "gone", subscription: subscription.id });\n`,
    replace: "",
  },
  {
    name: "a silent node is never given up",
    file: ORIGIN_SESSION,
    find: "this.#nowMs - this.#heardMs > LIMITS.linkSilenceMs",
    replace: "this.#nowMs < this.#heardMs",
  },
  {
    name: "a node that applies nothing is never given up",
    file: SEND_WINDOW,
    find: "nowMs - oldest.sentMs > LIMITS.windowStallMs",
    replace: "nowMs < oldest.sentMs",
  },
  {
    name: "what is sent does not count",
    file: SEND_WINDOW,
    find: "this.#bytes += bytes;",
    replace: "",
  },
  {
    name: "the window never opens again",
    file: SEND_WINDOW,
    find: "for (const message of done) this.#bytes -= message.bytes;",
    replace: "",
  },
  {
    name: "the end of the log is taken for its beginning",
    file: ORIGIN_SUBSCRIPTION,
    find: `      this.#progress = { kind: "unseen" };
      return [];
    }
    const last`,
    replace: `      this.#progress = { kind: "live" };
      return [];
    }
    const last`,
  },
  {
    name: "what is committed while the log is read is left to the heartbeat",
    file: ORIGIN_SUBSCRIPTION,
    find: "const isAtEnd = batches.length === 0 && this.sent >= this.#head;",
    replace: "const isAtEnd = batches.length === 0;",
  },
  {
    name: "a snapshot ends before the log of its last page is sent",
    file: ORIGIN_SUBSCRIPTION,
    find: "if (!isComplete || this.sent < target) return [];",
    replace: "if (!isComplete) return [];",
  },
  {
    name: "the log goes behind the pages, not between them",
    file: ORIGIN_SUBSCRIPTION,
    find: "target: Math.max(point.revision, this.#head),",
    replace: "target: this.sent,",
  },
  {
    name: "a snapshot goes on with the page it had",
    file: ORIGIN_SUBSCRIPTION,
    find: "after: page?.through ?? this.#progress.after,",
    replace: "after: page?.after ?? this.#progress.after,",
  },
  {
    name: "a failed read is taken for a gap",
    file: ORIGIN_SUBSCRIPTION,
    find: "this.#failures >= LIMITS.logReadsMax && ",
    replace: "",
  },
];
