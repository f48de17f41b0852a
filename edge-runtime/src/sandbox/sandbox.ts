/** A program with its arguments. */
export interface Command {
  readonly file: string;
  readonly args: ReadonlyArray<string>;
}

/**
 * All that a cell's environment has: of the agent's own nothing concerns it, and some of that is secret. With
 * glibc's own use of restartable sequences off, the allocator that is part of workerd may use them, and keeps
 * its free memory by core: a warm request then takes a tenth less of the processor.
 */
export const CELL_ENVIRONMENT = { GLIBC_TUNABLES: "glibc.pthread.rseq=0" } as const;

/** What to start so that a command runs confined. */
export interface Launch extends Command {
  /** The host's user and group to start it as; absent: the agent's own. */
  readonly user?: number;
  /**
   * Present when what is started stays in front of the command as its monitor: it reads this seccomp
   * program on `FILTER_DESCRIPTOR`, and tells the command's pid as JSON on `INFO_DESCRIPTOR`.
   */
  readonly monitorFilter?: Uint8Array;
}

export const INFO_DESCRIPTOR = 4;
export const FILTER_DESCRIPTOR = 5;

/** How a cell's process is confined: each implementation wraps the command that starts workerd. */
export interface Sandbox {
  /** For logs and status pages. */
  readonly name: string;
  /** The host's user that cells belong to, who must reach their directories; absent: the agent's own. */
  readonly user?: number;
  /** What to start instead; `directory` is the cell's own, its working directory. */
  wrap(command: Command, directory: string): Launch;
}

const SETPRIV = "/usr/bin/setpriv";

/** Confines nothing. A cell may outlive a killed agent until the next start of the agent ends it. */
export const NO_SANDBOX: Sandbox = { name: "none", wrap: (command) => command };

/**
 * Confines nothing, but the kernel kills the cell with the process that started it, the agent's launcher, which
 * ends with the agent. Costs 2 ms per zygote, never per request: util-linux sets the signal and becomes workerd.
 */
export const DIE_WITH_AGENT: Sandbox = {
  name: "die-with-agent",
  wrap: ({ file, args }) => ({ file: SETPRIV, args: ["--pdeathsig", "KILL", file, ...args] }),
};
