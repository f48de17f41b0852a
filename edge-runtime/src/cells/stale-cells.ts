import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { readStartTicks } from "./process-table.ts";

const PID_SUFFIX = ".pid";
// SIGKILL ends a process as soon as the kernel schedules it; a disk that hangs is what takes longer.
const KILL_WAIT_MS = 5_000;
const POLL_MS = 10;

/**
 * Writes down which process a cell is, beside its directory and not in it: what a cell can change must
 * never decide which process gets killed.
 */
export async function recordProcess(runDirectory: string, id: string, pid: number): Promise<void> {
  const startTicks = await readStartTicks(pid);
  // Gone already: then there is nothing that could be left behind.
  if (startTicks === undefined) return;
  await writeFile(join(runDirectory, id + PID_SUFFIX), `${pid} ${startTicks}`, { mode: 0o600 });
}

/** Removes a cell's directory and record. */
export async function removeCell(runDirectory: string, id: string): Promise<void> {
  await rm(join(runDirectory, id + PID_SUFFIX), { force: true });
  await rm(join(runDirectory, id), { recursive: true, force: true });
}

/**
 * Empties a run directory, ending every process that an earlier agent recorded there and left. A pid
 * that another program has by now is told apart by its start time. A user of cells has no processes but
 * cells, so all of its own end as well: one may have started that nobody could record any more.
 * Resolves with how many it ended.
 */
export async function reapStaleCells(
  runDirectory: string,
  cellUser: number | undefined,
): Promise<number> {
  await mkdir(runDirectory, { recursive: true, mode: 0o700 });
  const names = await readdir(runDirectory);
  const records = names.filter((name) => name.endsWith(PID_SUFFIX));
  const ended = await Promise.all(records.map((name) => endRecorded(join(runDirectory, name))));
  if (cellUser !== undefined) ended.push(...(await endAllOf(cellUser)));
  await Promise.all(
    names.map((name) => rm(join(runDirectory, name), { recursive: true, force: true })),
  );
  return ended.filter(Boolean).length;
}

async function endRecorded(record: string): Promise<boolean> {
  const [pid, startTicks] = (await readFile(record, "utf8")).split(" ");
  if (!/^[1-9]\d*$/.test(pid ?? "") || startTicks === undefined) return false;
  return endProcess(Number(pid), startTicks);
}

async function endAllOf(user: number): Promise<ReadonlyArray<boolean>> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  return Promise.all(
    pids.map(async (pid) => {
      const startTicks = await readStartTicks(pid);
      const owner = await stat(`/proc/${pid}`).catch(() => undefined);
      if (owner?.uid !== user || startTicks === undefined) return false;
      return endProcess(pid, startTicks);
    }),
  );
}

async function endProcess(pid: number, startTicks: string): Promise<boolean> {
  const isSame = async (): Promise<boolean> => (await readStartTicks(pid)) === startTicks;
  if (!(await isSame())) return false;
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    // It ended by itself between the look and the signal.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
  const deadline = performance.now() + KILL_WAIT_MS;
  while ((await isSame()) && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return true;
}
