import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { LIMITS } from "../limits.ts";
import { findHierarchies, type Controller, type Hierarchy } from "./cgroup-hierarchies.ts";

/** What cells share and what bounds them, by controller and version of the kernel's interface. */
const FILES = {
  1: {
    memoryLimit: "memory.limit_in_bytes",
    memoryEvents: "memory.oom_control",
    share: "cpu.shares",
    processes: "pids.max",
  },
  2: {
    memoryLimit: "memory.max",
    memoryEvents: "memory.events",
    share: "cpu.weight",
    processes: "pids.max",
  },
} as const;

/** The share of a group that says nothing about it, and the largest there is. */
const SHARES = { 1: { usual: 1024, max: 262_144 }, 2: { usual: 100, max: 10_000 } } as const;
// The kernel takes a moment after a process's end until its group counts as empty.
const REMOVE_RETRIES = 20;
const REMOVE_RETRY_MS = 10;

/**
 * A control group of the kernel's for each cell, in one group for all cells of an owner, below the
 * agent's own. The kernel then ends a cell that takes too much memory, divides the processors fairly
 * between cells, and bounds threads.
 */
export class ControlGroups {
  readonly #hierarchies: ReadonlyArray<Hierarchy>;
  readonly #name: string;

  private constructor(hierarchies: ReadonlyArray<Hierarchy>, name: string) {
    this.#hierarchies = hierarchies;
    this.#name = name;
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

  /** Makes a cell's group and moves its process there. What the process has used so far does not count. */
  async add(cell: string, pid: number): Promise<void> {
    for (const hierarchy of this.#hierarchies) {
      const directory = this.#directory(hierarchy, cell);
      await mkdir(directory);
      if (hierarchy.controllers.includes("pids")) {
        const { processes } = FILES[hierarchy.version];
        await writeFile(join(directory, processes), `${LIMITS.cellThreadsMax}`);
      }
      await writeFile(join(directory, "cgroup.procs"), `${pid}`);
    }
  }

  /** Sets what a cell may take from now on. */
  async limitMemory(cell: string, bytes: number): Promise<void> {
    const hierarchy = this.#find("memory");
    if (hierarchy === undefined) return;
    const file = join(this.#directory(hierarchy, cell), FILES[hierarchy.version].memoryLimit);
    await writeFile(file, `${bytes}`);
  }

  /** Whether the kernel ended a process of the cell because of its memory. */
  async wasOutOfMemory(cell: string): Promise<boolean> {
    const hierarchy = this.#find("memory");
    if (hierarchy === undefined) return false;
    const file = join(this.#directory(hierarchy, cell), FILES[hierarchy.version].memoryEvents);
    try {
      return /^oom_kill [1-9]/m.test(await readFile(file, "utf8"));
    } catch {
      // The group was never made: then nothing was counted in it.
      return false;
    }
  }

  /** Removes a cell's group, once its process is gone. */
  async remove(cell: string): Promise<void> {
    for (const hierarchy of this.#hierarchies) await removeGroup(this.#directory(hierarchy, cell));
  }

  /** Removes what an earlier agent left, whose processes were ended before. */
  async clear(): Promise<void> {
    for (const hierarchy of this.#hierarchies) {
      const owner = this.#directory(hierarchy, "");
      // After `close` there is none.
      if (!existsSync(owner)) continue;
      const entries = await readdir(owner, { withFileTypes: true });
      for (const entry of entries) if (entry.isDirectory()) await this.remove(entry.name);
    }
  }

  /** Removes all groups. May be called twice. */
  async close(): Promise<void> {
    for (const hierarchy of this.#hierarchies) await removeGroup(this.#directory(hierarchy, ""));
  }

  #find(controller: Controller): Hierarchy | undefined {
    return this.#hierarchies.find(({ controllers }) => controllers.includes(controller));
  }

  #directory(hierarchy: Hierarchy, cell: string): string {
    return join(hierarchy.directory, this.#name, cell);
  }
}

async function setUpOwner(hierarchy: Hierarchy, name: string, cores: number): Promise<void> {
  const directory = join(hierarchy.directory, name);
  const { controllers, version } = hierarchy;
  if (version === 2) {
    const wanted = controllers.map((controller) => `+${controller}`).join(" ");
    await writeFile(join(directory, "cgroup.subtree_control"), wanted);
  }
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
