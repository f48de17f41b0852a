import type { Mutation } from "./mutations.ts";

const ORIGIN_SESSION = "replication/origin-session.ts";
const ORIGIN_SUBSCRIPTION = "replication/origin-subscription.ts";
const SEND_WINDOW = "replication/send-window.ts";

/** Bugs in what the origin sends. */
export const ORIGIN_MUTATIONS: ReadonlyArray<Mutation> = [
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
