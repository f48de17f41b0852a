// Plain JavaScript, because the launcher runs under older Nodes as well.

// In MB, of each half of what V8 keeps new objects in. It lets that grow with the garbage of a large upload and
// never gives it back: 376 MB after two uploads of 200 MB, where this takes 238 and no longer. Set in a process
// that runs already it has no effect.
const CONTROL_PLANE = ["--max-semi-space-size=8"];

/** Node's own arguments for a command of `atoll`, by its name. */
export function runtimeArguments(command) {
  return command === "control-plane" ? CONTROL_PLANE : [];
}
