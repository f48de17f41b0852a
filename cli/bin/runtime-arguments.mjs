// Plain JavaScript, because the launcher runs under older Nodes as well.

// In MB, of each half of what V8 keeps new objects in. It lets that grow with garbage and never gives it back: a
// control plane had 376 MB after two uploads of 200 MB, where this takes 238 and no longer; a node with a million
// keys had 292 MB after 500 listings of a thousand, now 126, and the slowest in a hundred took 21 ms, now 7. Set in
// a process that runs already it has no effect.
const YOUNG = "--max-semi-space-size=8";

// How much of what was left by the last full collection may come together before the next. By itself V8 waits for a
// multiple of it: uploads leave dead objects among old ones, and 45 MB of them came together in two of 200 MB.
const GROWTH = "--heap-growing-percent=60";

const ARGUMENTS = new Map([
  ["control-plane", [YOUNG, GROWTH]],
  ["node", [YOUNG]],
]);

/** Node's own arguments for a command of `atoll`, by its name. */
export function runtimeArguments(command) {
  return ARGUMENTS.get(command) ?? [];
}
