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
const SEND_WINDOW = "replication/send-window.ts";

/** Bugs of which the simulation has to find each. `npm run simulate -- --mutations` proves it. */
export const MUTATIONS: ReadonlyArray<Mutation> = [
  // What a node takes from its stream.
  {
    name: "a batch is taken whatever it continues",
    file: REPLICA_SUBSCRIPTION,
    find: "if (after !== expected) throw",
    replace: "if (expected === null) throw",
  },
  {
    name: "what was accepted is not remembered",
    file: REPLICA_SUBSCRIPTION,
    find: `      this.accepted = revision;
      return { kind: "batch"`,
    replace: `      return { kind: "batch"`,
  },
  {
    name: "a batch between pages goes to what is read, not to the snapshot",
    file: REPLICA_SUBSCRIPTION,
    find: `kind: "snapshot-batch", after`,
    replace: `kind: "batch", after`,
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
    this.accepted = revision;`,
    replace: "    this.accepted = revision;",
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
    file: REPLICA_SESSION,
    find: "const sequence = first === undefined ? this.#sequence : first.sequence - 1;",
    replace: "const sequence = this.#sequence;",
  },
  {
    name: "bytes in flight to the disk are never given back",
    file: REPLICA_SESSION,
    find: "    this.#storingBytes -= store.bytes;\n",
    replace: "",
  },
  {
    name: "a failed transaction is forgotten",
    file: REPLICA_SESSION,
    find: "    if (!input.isStored) this.#onStoreFailed(subscription);\n",
    replace: "",
  },
  {
    name: "a broken subscription stays so",
    file: REPLICA_SESSION,
    find: `if (subscription.standing !== "broken" || !isDue) return;`,
    replace: "if (isDue || !isDue) return;",
  },
  {
    name: "a broken subscription goes on while transactions are in flight",
    file: REPLICA_SESSION,
    find: " && subscription.storing === 0;",
    replace: ";",
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
    find: "const begun = snapshot === null ? {} : { snapshot };",
    replace: "const begun = {};",
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
    find: "if (subscription.isLive && revision > subscription.sent) {",
    replace: "if (revision < 0) {",
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
    this.#sent = batches`,
    replace: `      this.#progress = { kind: "live" };
      return [];
    }
    this.#sent = batches`,
  },
  {
    name: "what is committed while the log is read is left to the heartbeat",
    file: ORIGIN_SUBSCRIPTION,
    find: "const isAtEnd = batches.length === 0 && this.#sent >= this.#head;",
    replace: "const isAtEnd = batches.length === 0;",
  },
  {
    name: "a snapshot ends before the log of its last page is sent",
    file: ORIGIN_SUBSCRIPTION,
    find: "if (!isComplete || this.#sent < target) return [];",
    replace: "if (!isComplete) return [];",
  },
  {
    name: "the log goes behind the pages, not between them",
    file: ORIGIN_SUBSCRIPTION,
    find: "target: Math.max(revision, this.#head),",
    replace: "target: this.#sent,",
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
