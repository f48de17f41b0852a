import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";

/** What of the kernel's control groups bounds cells. */
const CONTROLLERS = ["memory", "cpu", "pids"] as const;
/** What only measures them; with version 2 of the interface every group does. */
const METERS = ["cpuacct"] as const;
export type Controller = (typeof CONTROLLERS | typeof METERS)[number];

/** A tree of control groups, and the place in it below which an agent may make groups. */
export interface Hierarchy {
  readonly version: 1 | 2;
  readonly controllers: ReadonlyArray<Controller>;
  readonly directory: string;
}

/** Where the agent itself goes when its group may hold no process any more. */
const AGENT_GROUP = "atoll-agent";

interface Mount {
  readonly point: string;
  /** Which part of the tree is mounted. */
  readonly root: string;
  readonly version: 1 | 2;
  readonly options: ReadonlyArray<string>;
}

/** The hierarchies of this process that have any of the controllers, and which controllers have none. */
export async function findHierarchies(): Promise<{
  readonly hierarchies: ReadonlyArray<Hierarchy>;
  readonly shortfalls: ReadonlyArray<string>;
}> {
  const mounts = parseMounts(await readFile("/proc/self/mountinfo", "utf8"));
  const memberships = (await readFile("/proc/self/cgroup", "utf8")).trim().split("\n");
  const hierarchies: Hierarchy[] = [];
  const shortfalls: string[] = [];
  for (const membership of memberships) {
    const [, names = "", path = ""] = /^\d+:([^:]*):(.*)$/.exec(membership) ?? [];
    const version = names === "" ? 2 : 1;
    const mount = mounts.find(
      (each) =>
        each.version === version &&
        (version === 2 || names.split(",").every((name) => each.options.includes(name))),
    );
    if (mount === undefined) continue;
    const directory = join(mount.point, relative(mount.root, path));
    const available = version === 2 ? await readWords(directory) : names.split(",");
    const controllers = [...CONTROLLERS, ...METERS].filter((each) => available.includes(each));
    if (controllers.length === 0) continue;
    const refusal = version === 2 ? await delegate(directory, controllers) : undefined;
    if (refusal === undefined) hierarchies.push({ version, controllers, directory });
    else shortfalls.push(`control groups below ${directory} can't be used: ${refusal}`);
  }
  const found = new Set(hierarchies.flatMap(({ controllers }) => controllers));
  for (const controller of CONTROLLERS) {
    if (!found.has(controller)) shortfalls.push(`the host has no control groups for ${controller}`);
  }
  return { hierarchies, shortfalls };
}

function parseMounts(text: string): ReadonlyArray<Mount> {
  return text.split("\n").flatMap((line) => {
    // `<id> <parent> <device> <root> <point> <options> … - <type> <source> <super options>`
    const [mount = "", filesystem = ""] = line.split(" - ");
    const [, , , root, point] = mount.split(" ");
    const [type, , options = ""] = filesystem.split(" ");
    if (root === undefined || point === undefined) return [];
    if (type !== "cgroup" && type !== "cgroup2") return [];
    return [{ point, root, version: type === "cgroup" ? 1 : 2, options: options.split(",") }];
  });
}

/**
 * Lets groups below this one have the controllers. The kernel refuses that while the group has processes
 * of its own, so this one moves into a group beside those of the cells. Resolves with what went wrong.
 */
async function delegate(
  directory: string,
  controllers: ReadonlyArray<Controller>,
): Promise<string | undefined> {
  const wanted = controllers.map((controller) => `+${controller}`).join(" ");
  const control = join(directory, "cgroup.subtree_control");
  try {
    await writeFile(control, wanted).catch(async () => {
      const own = join(directory, AGENT_GROUP);
      await mkdir(own, { recursive: true });
      await writeFile(join(own, "cgroup.procs"), `${process.pid}`);
      await writeFile(control, wanted);
    });
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

async function readWords(directory: string): Promise<ReadonlyArray<string>> {
  return (await readFile(join(directory, "cgroup.controllers"), "utf8")).trim().split(" ");
}
