import { encodeMessage } from "@atoll/control-plane/contract";
import fc from "fast-check";
import { WebSocket } from "ws";
import { HOSTILE_VALUES, mutate, MUTATIONS } from "./hostile.ts";
import type { ApiDocument } from "./operations.ts";
import { valuesOf } from "./schema-values.ts";

/** What a node, or what has its credential, says on one connection; texts are sent as text frames. */
export type LinkScript = ReadonlyArray<Uint8Array | string>;

// "Going away", "not of the contract", cut, text that is no UTF-8, too large, "the database is away".
const ENDINGS = [1000, 1001, 1002, 1006, 1007, 1009, 1013];
const ANSWER_MS = 20_000;
const FRAMES_MAX = 6;

/** Messages of the contract, right, nearly right and wrong, in any order, and frames that are no messages. */
export function linkScripts(document: ApiDocument): fc.Arbitrary<LinkScript> {
  const messages = valuesOf(document.components.schemas["MessageFromNode"] ?? {});
  const near = fc
    .tuple(messages, MUTATIONS)
    .map(([message, mutation]) => encodeMessage(mutate(message, mutation)));
  const frames: fc.Arbitrary<Uint8Array | string> = fc.oneof(
    { arbitrary: messages.map(encodeMessage), weight: 6 },
    { arbitrary: near, weight: 6 },
    { arbitrary: KV_MESSAGES.map((message) => encodeMessage({ kind: "kv", message })), weight: 4 },
    { arbitrary: HOSTILE_VALUES.map((value) => encodeMessage({ kind: value })), weight: 1 },
    { arbitrary: fc.uint8Array({ maxLength: 300 }), weight: 2 },
    { arbitrary: fc.string(), weight: 1 },
    { arbitrary: fc.constant(Buffer.alloc(200_000, 0x91)), weight: 1 },
  );
  const hello = fc
    .constantFrom(0, 1, 5, 1_000_000, 2 ** 52)
    .map((revision) =>
      encodeMessage({ kind: "hello", revision, ingressUrl: "http://127.0.0.1:1" }),
    );
  const rest = fc.array(frames, { minLength: 1, maxLength: FRAMES_MAX });
  // Most say hello first, as nodes do, and lie about where they are.
  return fc.oneof(
    { arbitrary: fc.tuple(hello, rest).map(([first, more]) => [first, ...more]), weight: 3 },
    { arbitrary: rest, weight: 1 },
  );
}

const COUNTERS = fc.oneof(fc.nat(5), fc.constantFrom(-1, 0.5, 2 ** 53, 2 ** 31));
const NAMESPACES = fc.oneof(fc.stringMatching(/^[0-9a-f]{32}$/), fc.string());

/** The replication's, which are no part of the document. */
const KV_MESSAGES = fc.oneof(
  fc.record({
    kind: fc.constant("subscribe"),
    subscription: COUNTERS,
    namespace: NAMESPACES,
    after: fc.oneof(fc.constant(null), COUNTERS),
  }),
  fc.record({ kind: fc.constant("unsubscribe"), subscription: COUNTERS }),
  fc.record({ kind: fc.constant("received"), sequence: COUNTERS }),
  fc.record({ kind: fc.constant("ping"), atMs: COUNTERS }),
  fc.record({
    kind: fc.constant("write"),
    id: COUNTERS,
    namespace: NAMESPACES,
    count: COUNTERS,
    body: fc.uint8Array({ maxLength: 60 }),
    checksum: COUNTERS,
  }),
  HOSTILE_VALUES,
);

/** Says a script as a node. Resolves with what is wrong in how it ended; `undefined` when nothing is. */
export function speakScript(
  url: string,
  credential: string,
  script: LinkScript,
): Promise<string | undefined> {
  const socket = new WebSocket(`${url.replace("http", "ws")}/fleet/connect`, {
    headers: { authorization: `Bearer ${credential}` },
  });
  return new Promise((resolve) => {
    const late = setTimeout(() => {
      resolve("a link that neither answers nor ends");
      socket.terminate();
    }, ANSWER_MS);
    socket.on("open", () => {
      for (const frame of script) socket.send(frame);
      socket.ping();
    });
    // All frames before it were taken in.
    socket.on("pong", () => socket.close(1000));
    // Beside a refused upgrade there is nothing to tell that `close` does not.
    socket.on("error", () => undefined);
    socket.on("close", (code) => {
      clearTimeout(late);
      resolve(ENDINGS.includes(code) ? undefined : `a link ended with ${code}`);
    });
  });
}
