// Plain JavaScript, because the launcher runs under older Nodes as well.

// In MB, of each half of what V8 keeps new objects in. It lets that grow with garbage and never gives it back: a
// control plane had 376 MB after two uploads of 200 MB, where this takes 238 and no longer; a node with a million
// keys had 292 MB after 500 listings of a thousand, now 126, and the slowest in a hundred took 21 ms, now 7. Set in
// a process that runs already it has no effect.
const SERVER = ["--max-semi-space-size=8"];
const SERVERS = ["control-plane", "node"];

/** Node's own arguments for a command of `atoll`, by its name. */
export function runtimeArguments(command) {
  return SERVERS.includes(command) ? SERVER : [];
}
