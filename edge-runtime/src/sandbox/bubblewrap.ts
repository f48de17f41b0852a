import { LIMITS } from "../limits.ts";
import { openFilesMax } from "./kernel-file.ts";
import {
  CELL_ENVIRONMENT,
  FILTER_DESCRIPTOR,
  INFO_DESCRIPTOR,
  type Command,
  type Launch,
  type Sandbox,
} from "./sandbox.ts";

/** Where the cell's directory is inside of the sandbox. */
const CELL = "/cell";
const PROGRAM = "/workerd";
/** The cores that the host may have, such as "0-1": without it workerd's allocator can't keep memory by core. */
const CORES = "/sys/devices/system/cpu/possible";

const NAMESPACES = ["--unshare-all", "--unshare-user", "--disable-userns", "--hostname", "cell"];
const PRIVILEGES = ["--cap-drop", "ALL"];
const ENVIRONMENT = [
  "--clearenv",
  ...Object.entries(CELL_ENVIRONMENT).flatMap(([name, value]) => ["--setenv", name, value]),
];
// workerd is the first process of its pid namespace: there is no other one, and the kernel ends it with
// its monitor, which ends with the agent.
const LIFE = ["--as-pid-1", "--new-session", "--die-with-parent"];

export interface BubblewrapOptions {
  /** The host's user that cells run as; absent: the agent's own, who is nobody special then. */
  readonly user: number | undefined;
  /** Libraries that the program needs, at the same path inside and outside. */
  readonly libraries: ReadonlyArray<string>;
  /** The seccomp program. */
  readonly filter: Uint8Array;
}

/**
 * Cells in namespaces of their own, by bubblewrap: an empty, read-only root that holds workerd, its
 * libraries and the cell's directory, no network device, no capability, no other process, and only the
 * system calls of `system-calls.ts`. SANDBOX.md lists what each part stops.
 */
export class Bubblewrap implements Sandbox {
  readonly name = "bubblewrap";
  readonly user?: number;
  readonly #options: BubblewrapOptions;

  constructor(options: BubblewrapOptions) {
    this.#options = options;
    if (options.user !== undefined) this.user = options.user;
  }

  wrap({ file, args }: Command, directory: string): Launch {
    const { user, libraries, filter } = this.#options;
    return {
      file: PRLIMIT,
      args: [
        ...RESOURCES,
        BWRAP,
        ...NAMESPACES,
        ...PRIVILEGES,
        ...ENVIRONMENT,
        ...LIFE,
        ...rootOf(file, libraries, directory),
        ...["--seccomp", `${FILTER_DESCRIPTOR}`, "--info-fd", `${INFO_DESCRIPTOR}`],
        ...["--chdir", CELL, PROGRAM, ...args],
      ],
      ...(user === undefined ? {} : { user }),
      monitorFilter: filter,
    };
  }
}

const BWRAP = "/usr/bin/bwrap";
const PRLIMIT = "/usr/bin/prlimit";

// Bounds of the kernel that hold for one process. The address space is not among them: V8 reserves
// terabytes of it and uses little.
const RESOURCES = [
  // A dump would write the secrets of the worker to the host's disk.
  "--core=0",
  // No file can grow at all; sockets and pipes are no files in this sense.
  "--fsize=0",
  // Cells run as somebody who may lower limits, and not raise them.
  `--nofile=${Math.min(LIMITS.cellDescriptorsMax, openFilesMax())}`,
  "--memlock=0",
  "--msgqueue=0",
];

/** Mounts, in order. Everything is read-only at the end but the cell's directory and `/tmp`. */
function rootOf(
  program: string,
  libraries: ReadonlyArray<string>,
  directory: string,
): ReadonlyArray<string> {
  return [
    ...["--ro-bind", program, PROGRAM],
    ...libraries.flatMap((library) => ["--ro-bind", library, library]),
    ...["--ro-bind", CORES, CORES],
    ...["--bind", directory, CELL],
    // What the host puts there later appears inside, and cannot be changed from there.
    ...["--ro-bind", `${directory}/sites`, `${CELL}/sites`],
    ...["--size", `${LIMITS.cellTemporaryBytesMax}`, "--tmpfs", "/tmp"],
    // workerd looks up its own path, and there is no procfs.
    ...["--symlink", PROGRAM, "/proc/self/exe"],
    ...["--remount-ro", "/"],
  ];
}
