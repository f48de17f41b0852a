import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { LIMITS } from "../limits.ts";
import { findHierarchies, type Controller, type Hierarchy } from "./cgroup-hierarchies.ts";
import { KernelCounter, readKernelFile } from "./kernel-file.ts";

/** What cells share and what bounds them, by controller and version of the kernel's interface. */
const FILES = {
  1: {
    memoryLimit: "memory.limit_in_bytes",
    swapLimit: "memory.memsw.limit_in_bytes",
    memoryEvents: "memory.oom_control",
    memoryPeak: "memory.max_usage_in_bytes",
    share: "cpu.shares",
    cpuTime: "cpuacct.usage",
    processes: "pids.max",
  },
  2: {
    memoryLimit: "memory.max",
    swapLimit: "memory.swap.max",
    memoryEvents: "memory.events",
    memoryPeak: "memory.peak",
    share: "cpu.weight",
    cpuTime: "cpu.stat",
    processes: "pids.max",
  },
} as const;

/** What a cell's group has counted since its process joined; each is missing where the host counts none. */
export interface GroupUsage {
  readonly cpuNs: number | undefined;
  /** The most that was charged to it at a time. */
  readonly memoryPeakBytes: number | undefined;
}

/** The share of a group that says nothing about it, and the largest there is. */
const SHARES = { 1: { usual: 1024, max: 262_144 }, 2: { usual: 100, max: 10_000 } } as const;
// The kernel takes a moment after a process's end until its group counts as empty.
const REMOVE_RETRIES = 20;
const REMOVE_RETRY_MS = 10;
// An account's group goes with its last cell, at worst each time that another one starts.
const MAKE_TRIES = 5;

/** Where processes wait for their account, in the hierarchies that have accounts. */
const NEUTRAL = "zygotes";

/** What a process becomes that waited. */
export interface Assignment {
  readonly pid: number;
  /** Whose cell it is. */
  readonly account: string;
  readonly memoryBytes: number;
}

/**
 * Control groups of the kernel's for the cells of an owner, below the agent's own. The kernel then ends a
 * cell that takes too much memory, bounds threads, and divides the processors fairly: between accounts
 * first, then between the cells of each.
 *
 * So the hierarchy that has the processors is `<owner>/<account>/<cell>`, and a process moves there when its
 * account is known. All others are `<owner>/<cell>` from the beginning: moving takes the kernel up to 15 ms,
 * which a cold start should not have to wait for.
 */
export class ControlGroups {
  readonly #hierarchies: ReadonlyArray<Hierarchy>;
  readonly #name: string;
  /** The cells of each account that has any. */
  readonly #accounts = new Map<string, Set<string>>();
  readonly #accountOf = new Map<string, string>();
  /** Moves that nobody waited for, by cell. */
  readonly #moves = new Map<string, Promise<void>>();
  /** Which hierarchy counts processor time; with version 2 of the interface every one does. */
  readonly #counting: Hierarchy | undefined;
  /** Counts it for all groups of the owner together. */
  readonly #total: KernelCounter | undefined;

  private constructor(hierarchies: ReadonlyArray<Hierarchy>, name: string) {
    this.#hierarchies = hierarchies;
    this.#name = name;
    this.#counting = this.#find("cpuacct") ?? hierarchies.find(({ version }) => version === 2);
    this.#total =
      this.#counting &&
      new KernelCounter(join(this.#path(this.#counting), FILES[this.#counting.version].cpuTime));
  }

  /**
   * Opens the groups of an owner in every hierarchy that can be written, with what can't be had and why.
   * `cores` is what the owner's cells may use when everybody else works, too.
   */
  static async open(options: {
    readonly owner: string;
    readonly cores: number;
  }): Promise<{ readonly groups: ControlGroups; readonly shortfalls: ReadonlyArray<string> }> {
    const digest = createHash("sha256").update(options.owner).digest("hex");
    const name = `atoll-${digest.slice(0, 12)}`;
    const { hierarchies, shortfalls } = await findHierarchies();
    const usable: Hierarchy[] = [];
    const failures = [...shortfalls];
    for (const hierarchy of hierarchies) {
      try {
        await mkdir(join(hierarchy.directory, name), { recursive: true });
        await setUpOwner(hierarchy, name, options.cores);
        usable.push(hierarchy);
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        failures.push(`no control group for ${hierarchy.controllers.join(", ")}: ${reason}`);
      }
    }
    return { groups: new ControlGroups(usable, name), shortfalls: failures };
  }

  /** Whether the kernel watches over the memory of cells. */
  get limitsMemory(): boolean {
    return this.#hierarchies.some(({ controllers }) => controllers.includes("memory"));
  }

  /** Takes in a process that has no account yet. What it has used so far does not count. */
  async add(cell: string, pid: number): Promise<void> {
    for (const hierarchy of this.#hierarchies) {
      const directory = this.#directory(hierarchy, cell);
      await mkdir(directory, { recursive: true });
      if (!hasAccounts(hierarchy)) await limitThreads(hierarchy, directory);
      await enter(directory, pid);
    }
  }

  /**
   * Makes a process that was added the cell of an account. Its limits hold from now on; that its processor
   * time counts as the account's may follow a moment later.
   */
  async assign(cell: string, { pid, account, memoryBytes }: Assignment): Promise<void> {
    this.#accountOf.set(cell, account);
    this.#accounts.set(account, (this.#accounts.get(account) ?? new Set()).add(cell));
    for (const hierarchy of this.#hierarchies) {
      const directory = this.#directory(hierarchy, cell);
      if (hasAccounts(hierarchy)) await makeCellGroup(hierarchy, directory);
      if (hierarchy.controllers.includes("memory")) {
        await limitMemory(hierarchy, directory, memoryBytes);
      }
      if (!hasAccounts(hierarchy)) continue;
      const moved = enter(directory, pid);
      // Where nothing but the processor is divided there, nothing that must be bounded depends on it. Who
      // could not move stays among those that wait, who have one share together.
      if (hierarchy.controllers.every((each) => each === "cpu" || each === "cpuacct"))
        this.#moves.set(
          cell,
          moved.catch(() => undefined),
        );
      else await moved;
    }
  }

  /** Whether the kernel ended a process of the cell because of its memory. */
  async wasOutOfMemory(cell: string): Promise<boolean> {
    const hierarchy = this.#find("memory");
    const isWaiting = !this.#accountOf.has(cell);
    // Who waits takes no memory worth a limit.
    if (hierarchy === undefined || isWaiting) return false;
    const file = join(this.#directory(hierarchy, cell), FILES[hierarchy.version].memoryEvents);
    try {
      return /^oom_kill [1-9]/m.test(await readFile(file, "utf8"));
    } catch {
      // The group was never made: then nothing was counted in it.
      return false;
    }
  }

  /**
   * Processor time of all processes that are or were in groups of the owner's, in nanoseconds: as long as it
   * stands still, none of them has run. `undefined` where the host counts none.
   */
  cpuNs(): number | undefined {
    return parseCpuNs(this.#total?.read());
  }

  /** At once rather than later, because it is asked of every cell that runs every few seconds. */
  usage(cell: string): GroupUsage {
    const peak = this.#read(this.#find("memory"), cell, "memoryPeak");
    return {
      cpuNs: parseCpuNs(this.#read(this.#counting, cell, "cpuTime")),
      memoryPeakBytes: peak === undefined ? undefined : Number(peak),
    };
  }

  /** Removes a cell's group, once its process is gone, and its account's with the last one. */
  async remove(cell: string): Promise<void> {
    await this.#moves.get(cell);
    this.#moves.delete(cell);
    const account = this.#accountOf.get(cell);
    for (const hierarchy of this.#hierarchies) {
      if (hasAccounts(hierarchy) && account === undefined) continue;
      await removeGroup(this.#directory(hierarchy, cell));
    }
    if (account === undefined) return;
    this.#accountOf.delete(cell);
    const cells = this.#accounts.get(account);
    cells?.delete(cell);
    if (cells === undefined || cells.size > 0) return;
    this.#accounts.delete(account);
    for (const hierarchy of this.#hierarchies.filter(hasAccounts)) {
      // A cell that starts just now makes it anew, or keeps it.
      await rmdir(this.#path(hierarchy, account)).catch(() => undefined);
    }
  }

  /** Removes what an earlier agent left, whose processes were ended before. */
  async clear(): Promise<void> {
    for (const hierarchy of this.#hierarchies) {
      const owner = this.#path(hierarchy);
      for (const group of await groupsIn(owner)) {
        for (const cell of await groupsIn(group)) await removeGroup(cell);
        await removeGroup(group);
      }
    }
  }

  /** Removes all groups. May be called twice. */
  async close(): Promise<void> {
    this.#total?.close();
    for (const hierarchy of this.#hierarchies) {
      await removeGroup(this.#path(hierarchy, NEUTRAL));
      await removeGroup(this.#path(hierarchy));
    }
  }

  /** What a cell's own group tells; `undefined` while it has none, waiting among others for an account. */
  #read(
    hierarchy: Hierarchy | undefined,
    cell: string,
    file: "cpuTime" | "memoryPeak",
  ): string | undefined {
    if (hierarchy === undefined) return undefined;
    if (hasAccounts(hierarchy) && !this.#accountOf.has(cell)) return undefined;
    return readKernelFile(join(this.#directory(hierarchy, cell), FILES[hierarchy.version][file]));
  }

  #find(controller: Controller): Hierarchy | undefined {
    return this.#hierarchies.find(({ controllers }) => controllers.includes(controller));
  }

  /** Where a cell is now. */
  #directory(hierarchy: Hierarchy, cell: string): string {
    if (!hasAccounts(hierarchy)) return this.#path(hierarchy, cell);
    const account = this.#accountOf.get(cell);
    return account === undefined
      ? this.#path(hierarchy, NEUTRAL)
      : this.#path(hierarchy, account, cell);
  }

  #path(hierarchy: Hierarchy, ...names: ReadonlyArray<string>): string {
    return join(hierarchy.directory, this.#name, ...names);
  }
}

/** Nanoseconds: alone in the file with version 1, `usage_usec <microseconds>` among others with version 2. */
function parseCpuNs(text: string | undefined): number | undefined {
  const [, unit, count] = /^(usage_usec )?(\d+)$/m.exec(text ?? "") ?? [];
  return count === undefined ? undefined : Number(count) * (unit === undefined ? 1 : 1_000);
}

/** Whether a hierarchy has a level of accounts: the one that divides the processors. */
function hasAccounts({ controllers }: Hierarchy): boolean {
  return controllers.includes("cpu");
}

/** Makes the group of a cell in that of its account, which may be removed at the same time. */
async function makeCellGroup(hierarchy: Hierarchy, directory: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const account = dirname(directory);
      await mkdir(account, { recursive: true });
      await handDown(hierarchy, account);
      await mkdir(directory);
      await limitThreads(hierarchy, directory);
      return;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ENOENT" || attempt === MAKE_TRIES) throw error;
    }
  }
}

/** Bounds memory, with no swap beyond it: that is the host's, and one cell would use up all of it. */
async function limitMemory(
  { version }: Hierarchy,
  directory: string,
  memoryBytes: number,
): Promise<void> {
  const { memoryLimit, swapLimit } = FILES[version];
  await writeFile(join(directory, memoryLimit), `${memoryBytes}`);
  // With version 1 it is memory and swap together, and can't be less than memory.
  const swapBytes = version === 1 ? memoryBytes : 0;
  try {
    await writeFile(join(directory, swapLimit), `${swapBytes}`, { flag: "r+" });
  } catch (error) {
    // A kernel that has no swap, or does not count who uses it.
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}

async function limitThreads(hierarchy: Hierarchy, directory: string): Promise<void> {
  if (!hierarchy.controllers.includes("pids")) return;
  const { processes } = FILES[hierarchy.version];
  await writeFile(join(directory, processes), `${LIMITS.cellThreadsMax}`);
}

async function enter(directory: string, pid: number): Promise<void> {
  try {
    await writeFile(join(directory, "cgroup.procs"), `${pid}`);
  } catch (error) {
    // A process that ended meanwhile is somebody else's news.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Lets the groups in a group have what it has. */
async function handDown({ controllers, version }: Hierarchy, directory: string): Promise<void> {
  if (version === 1) return;
  const wanted = controllers.map((controller) => `+${controller}`).join(" ");
  await writeFile(join(directory, "cgroup.subtree_control"), wanted);
}

async function groupsIn(directory: string): Promise<ReadonlyArray<string>> {
  // After `close` there is none.
  if (!existsSync(directory)) return [];
  const entries = await readdir(directory, { withFileTypes: true });
  return entries.filter((each) => each.isDirectory()).map(({ name }) => join(directory, name));
}

async function setUpOwner(hierarchy: Hierarchy, name: string, cores: number): Promise<void> {
  const directory = join(hierarchy.directory, name);
  const { controllers, version } = hierarchy;
  await handDown(hierarchy, directory);
  if (!controllers.includes("cpu")) return;
  // All cells together weigh as much as one busy process for each core, so the agent always has its turn.
  const share = Math.min(SHARES[version].usual * cores, SHARES[version].max);
  await writeFile(join(directory, FILES[version].share), `${share}`);
}

async function removeGroup(directory: string): Promise<void> {
  for (let attempt = 0; attempt < REMOVE_RETRIES; attempt += 1) {
    try {
      await rmdir(directory);
      return;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOENT") return;
      if (code !== "EBUSY") throw error;
      await new Promise((resolve) => setTimeout(resolve, REMOVE_RETRY_MS));
    }
  }
}
