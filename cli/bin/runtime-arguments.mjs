// Plain JavaScript, because the launcher runs under older Nodes as well.

import { availableParallelism } from "node:os";

// In MB, of each half of what V8 keeps new objects in. It lets that grow with garbage and never gives it back: a
// control plane had 376 MB after two uploads of 200 MB, where this takes 238 and no longer; a node with a million
// keys had 292 MB after 500 listings of a thousand, now 126, and the slowest in a hundred took 21 ms, now 7. Set in
// a process that runs already it has no effect.
const YOUNG = "--max-semi-space-size=8";

// What uploads arrive in lies beside V8's heap, and is given back when the new objects that stand for it are looked
// through: twice as often, three uploads of 200 MB took 262 to 283 MB at most, and 278 to 308 before, as quickly.
const YOUNG_OF_UPLOADS = "--max-semi-space-size=4";

// How much of what was left by the last full collection may come together before the next. By itself V8 waits for a
// multiple of it: uploads leave dead objects among old ones, and 45 MB of them came together in two of 200 MB.
const GROWTH = "--heap-growing-percent=60";

// V8 compiles and collects garbage on four threads of its own, however few cores there are. On two, a process that
// compiles what has become hot takes both for half a second from what answers requests: with one such thread the
// slowest in a hundred of a node's changes came a fifth sooner. One core is left for the main thread.
const V8_THREADS_DEFAULT = 4;
const v8Threads = Math.max(1, Math.min(V8_THREADS_DEFAULT, availableParallelism() - 1));
const THREADS = `--v8-pool-size=${v8Threads}`;

const ARGUMENTS = new Map([
  ["control-plane", [YOUNG_OF_UPLOADS, GROWTH, THREADS]],
  ["node", [YOUNG, THREADS]],
]);

/** Node's own arguments for a command of `atoll`, by its name. */
export function runtimeArguments(command) {
  return ARGUMENTS.get(command) ?? [];
}
