import { ORIGIN_MUTATIONS } from "./origin-mutations.ts";
import { QUIET_MUTATIONS } from "./quiet-mutations.ts";

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
const EXPIRY_CLOCK = "origin/expiry-clock.ts";
const ORIGIN_TIME = "replica/origin-time.ts";
const OWN_WRITES = "replication/own-writes.ts";
const PENDING_WRITES = "replication/pending-writes.ts";
const REPLICA_SESSION = "replication/replica-session.ts";
const REPLICA_SUBSCRIPTION = "replication/replica-subscription.ts";
const PARTIAL_ENTRY = "replica/partial-entry.ts";
const VALUE_READ = "front/value-read.ts";
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
    // What was lost before it said that the origin was restored, and the numbers of both histories are the same.
    name: "a batch that comes first is taken whatever was lost before it",
    file: REPLICA_SUBSCRIPTION,
    find: "return isFirst && this.isSuspect && ",
    replace: "return isFirst && this.id < 0 && ",
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
    find: "    this.accepted = this.#isReplacing ? null : this.applied;\n    this.#collecting = this.#collected;",
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
    find: "if (actual === expected.checksum) return;",
    replace: "if (actual >= 0) return;",
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
    find: `const result = { kind: "failed", code, message: message.message, found } as const;`,
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
    // With the bound as it is, it takes half a minute before a restore, and one seed in thousands has it.
    name: "what was heard of revisions that the origin has lost leaves no room for others",
    file: FRESHNESS,
    find: `      this.#awaited = this.#awaited.filter((each) => !saysAsMuch(position, each));
      // Past the bound the newest is left out: the oldest is what shows how far the replica has come.
      if (this.#awaited.length < AWAITED_MAX)`,
    replace: "      if (this.#awaited.length < 4)",
  },
  {
    name: "what is in flight to the disk counts as processed",
    file: STORES_IN_FLIGHT,
    find: "return first === undefined ? this.#sequence : first.sequence - 1;",
    replace: "return this.#sequence;",
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
    find: `    if (outcome !== "stored" && !isGivenUp) this.#onStoreFailed(store, outcome);\n`,
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
    find: `    subscription.distrust(subscription.repair?.reason ?? "damaged", this.#nowMs);\n`,
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
    find: "if (this.era !== era) return;",
    replace: "if (this.era < era) return;",
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
    find: "if (gone === undefined || look === undefined || isLast)",
    replace: "if (gone !== null || look === undefined || isLast)",
  },
  {
    name: "a value that is gone is not waited for",
    file: VALUE_READ,
    find: `return { kind: "wait", past };`,
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

  // What it says of the time, and of its own writes.
  {
    name: "a node's own clock says what has expired",
    file: ORIGIN_TIME,
    find: "return Math.max(this.#clock.monotonicMs() + this.#offsetMs, this.#reached * 1_000);",
    replace: "return (this.#clock as never as { nowMs(): number }).nowMs();",
  },
  {
    name: "the origin's clock is taken to have been read when the heartbeat was asked for",
    file: ORIGIN_TIME,
    find: "Math.min(Math.max(this.#offsetMs ?? leastMs, leastMs), mostMs)",
    replace: "mostMs",
  },
  {
    name: "what has expired is forgotten with the process",
    file: ORIGIN_TIME,
    find: "    this.#save(seconds);\n",
    replace: "",
  },
  {
    name: "a node's time goes back with what it hears",
    file: ORIGIN_TIME,
    find: `    if (expiresAt <= this.#reached) return true;
    this.keep();
    return expiresAt <= this.#reached;`,
    replace:
      "    return expiresAt * 1_000 <= this.#clock.monotonicMs() + (this.#offsetMs ?? -Infinity);",
  },
  {
    name: "the origin is never heard of what time it is",
    file: ORIGIN_TIME,
    find: "this.#offsetMs = Math.min(",
    replace: "this.#offsetMs ??= Math.min(",
  },
  {
    name: "the origin's time goes back with its clock",
    file: EXPIRY_CLOCK,
    find: "this.#reachedMs = Math.max(this.#reachedMs, this.#clock.nowMs());",
    replace: "this.#reachedMs = this.#clock.nowMs();",
  },
  {
    name: "conditions of a write are left behind",
    file: REPLICA_SESSION,
    find: "encodeWrite(operations, conditions)",
    replace: "encodeWrite(operations)",
  },
  {
    name: "reads do not wait for what was acknowledged before a cut",
    file: OWN_WRITES,
    find: "this.#byNamespace.set(namespace, [...(this.#byNamespace.get(namespace) ?? []), own]);",
    replace: "own.keys.at(0);",
  },
  {
    name: "reads stop waiting for their own writes whatever is applied",
    file: OWN_WRITES,
    find: "this.#keep(namespace, ({ revision }) => revision > applied);",
    replace: "this.#keep(namespace, () => applied === 0);",
  },
  {
    name: "all entries of a page have the first one's revision",
    file: BATCH,
    find: "bytes.getFloat64(index * REVISION_BYTES)",
    replace: "bytes.getFloat64(0)",
  },
  ...ORIGIN_MUTATIONS,
  ...QUIET_MUTATIONS,
];
