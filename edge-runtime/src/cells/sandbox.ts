import { access, constants } from "node:fs/promises";

/** A program with its arguments. */
interface Command {
  readonly file: string;
  readonly args: ReadonlyArray<string>;
}

/** How a cell's process is confined: each implementation wraps the command that starts workerd. */
export interface Sandbox {
  /** For logs and status pages. */
  readonly name: string;
  /** The command to start instead; `directory` is the cell's own, its working directory. */
  wrap(command: Command, directory: string): Command;
}

const SETPRIV = "/usr/bin/setpriv";

/** Confines nothing. A cell may outlive a killed agent until the next start of the agent ends it. */
export const NO_SANDBOX: Sandbox = { name: "none", wrap: (command) => command };

/**
 * Confines nothing, but the kernel kills the cell with the thread that started it, which is the agent's
 * main thread. Costs 2 ms per zygote, never per request: util-linux sets the signal and becomes workerd.
 */
export const DIE_WITH_AGENT: Sandbox = {
  name: "die-with-agent",
  wrap: ({ file, args }) => ({ file: SETPRIV, args: ["--pdeathsig", "KILL", file, ...args] }),
};

/** The strictest sandbox that this host can give. */
export async function findSandbox(): Promise<Sandbox> {
  try {
    await access(SETPRIV, constants.X_OK);
    return DIE_WITH_AGENT;
  } catch {
    // Without util-linux there is the reaping of stale cells at the next start, and nothing else.
    return NO_SANDBOX;
  }
}
