import { createHash } from "node:crypto";
import { type Dirent, existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { RegionName, TestAtoll } from "./atoll.ts";
import { eventually } from "./eventually.ts";
import { readProcessTree } from "./process-tree.ts";

/**
 * Everything that a node holds of its machine and has to give back, as counts by name: processes by
 * program, descriptors of the agent and of HAProxy, files by folder, control groups, servers of HAProxy.
 */
export type NodeInventory = Readonly<Record<string, number>>;

/** Of a node of `atoll up`. Two inventories of a node that does nothing are equal. */
export async function takeInventory(atoll: TestAtoll, region: RegionName): Promise<NodeInventory> {
  const agent = (await atoll.pids())[region];
  if (agent === undefined) throw new Error(`there is no process of ${region}`);
  const data = join(atoll.dataDirectory, "nodes", region);
  const run = runDirectoryOf(data);
  const counts = new Map<string, number>();
  const count = (name: string, by = 1): unknown => counts.set(name, (counts.get(name) ?? 0) + by);
  for (const { pid, program } of await readProcessTree(agent)) {
    const name = pid === agent ? "agent" : program;
    count(`processes: ${name}`);
    if (name === "agent" || name === "haproxy") {
      count(`descriptors: ${name}`, await descriptorsOf(pid));
    }
  }
  for (const [name, folder] of [
    ["run", run],
    ["blobs", join(data, "blobs")],
    ["configs", join(data, "configs")],
    ["sites", join(data, "sites")],
  ] as const) {
    count(`files: ${name}`, await filesBelow(folder));
  }
  count("control groups", await controlGroupsOf(data));
  count("servers of HAProxy", await haproxyServers(join(run, "ingress", "admin.sock")));
  return Object.fromEntries([...counts].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

// A used zygote has its successor a moment after the start that it was used for.
const SETTLED_MS = 500;

/** The inventory of a node that has come to rest: it has stood still for a while. */
export async function settledInventory(
  atoll: TestAtoll,
  region: RegionName,
): Promise<NodeInventory> {
  let last = await takeInventory(atoll, region);
  let sinceMs = performance.now();
  return eventually(
    async () => {
      const next = await takeInventory(atoll, region);
      if (JSON.stringify(last) === JSON.stringify(next)) {
        return performance.now() - sinceMs >= SETTLED_MS && next;
      }
      last = next;
      sinceMs = performance.now();
      return false;
    },
    { what: `the node ${region} settles` },
  );
}

/** What `after` has more of than `before`, as text. */
export function growth(before: NodeInventory, after: NodeInventory): ReadonlyArray<string> {
  return Object.entries(after)
    .filter(([name, count]) => count > (before[name] ?? 0))
    .map(([name, count]) => `${name}: ${before[name] ?? 0} before, ${count} after`);
}

/** Where a node has its sockets: below its data, or elsewhere when that path is too long or closed. */
function runDirectoryOf(data: string): string {
  const preferred = join(data, "run");
  if (existsSync(join(preferred, "cells"))) return preferred;
  const digest = createHash("sha256").update(preferred).digest("hex");
  return join(tmpdir(), `atoll-${digest.slice(0, 12)}`);
}

async function descriptorsOf(pid: number): Promise<number> {
  // A process that just ended has none.
  return (await readdir(`/proc/${pid}/fd`).catch(() => [])).length;
}

/** All but folders, which blobs are spread over. */
async function filesBelow(folder: string): Promise<number> {
  const entries = await entriesBelow(folder);
  return entries.filter((entry) => !entry.isDirectory()).length;
}

/** Groups of cells, in every hierarchy of the kernel's. */
async function controlGroupsOf(data: string): Promise<number> {
  const digest = createHash("sha256").update(data).digest("hex");
  const owner = `atoll-${digest.slice(0, 12)}`;
  const entries = await entriesBelow("/sys/fs/cgroup");
  return entries.filter((entry) => entry.isDirectory() && entry.parentPath.endsWith(`/${owner}`))
    .length;
}

/** What goes while this looks counts as gone: other nodes of the machine come and go, too. */
async function entriesBelow(folder: string): Promise<ReadonlyArray<Dirent>> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(noneWhenGone);
  const folders = entries.filter((entry) => entry.isDirectory());
  const below = await Promise.all(folders.map(({ name }) => entriesBelow(join(folder, name))));
  return [...entries, ...below.flat()];
}

function noneWhenGone(error: NodeJS.ErrnoException): [] {
  // ENODEV: a control group that is just being removed.
  if (error.code === "ENOENT" || error.code === "ENODEV") return [];
  throw error;
}

/** How many cells HAProxy has servers for, three each; none where another ingress serves. */
async function haproxyServers(adminPath: string): Promise<number> {
  if (!existsSync(adminPath)) return 0;
  const socket = connect(adminPath);
  socket.write("show stat -1 4 -1\n");
  const rows = (await text(socket)).split("\n").map((row) => row.split(",")[1] ?? "");
  return rows.filter((name) => /^c\d+\./.test(name)).length;
}
