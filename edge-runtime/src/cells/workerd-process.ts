import { chmod, link } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "@atoll/kv-store";
import { z } from "zod";
import { HEALTH_SOCKET } from "../config/cell-interface.ts";
import { EdgeError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { ConfinedProcess } from "../sandbox/confined-process.ts";
import type { ControlGroups } from "../sandbox/control-groups.ts";
import { endFirstWithoutMemory } from "../sandbox/kernel-file.ts";
import type { Sandbox } from "../sandbox/sandbox.ts";
import { askCell } from "./cell-client.ts";
import { makeCellDirectory } from "./cell-directory.ts";
import type { Cell, CellExit, CellSpec, CellUsage } from "./cell-host.ts";
import { type LimitBreach, processMemoryBytes } from "./cell-limits.ts";
import { CellSample } from "./cell-sample.ts";
import type { CellSampler } from "./cell-sampler.ts";
import type { CellWatchdog } from "./cell-watchdog.ts";
import { OutputBudget } from "./output-budget.ts";
import { readLines } from "./output-lines.ts";
import type { SiteTrees, TakenTree } from "./site-trees.ts";
import { ProcessCounters } from "./process-table.ts";
import { recordProcess, removeCell } from "./stale-cells.ts";

/** One line that a cell wrote. workerd writes JSON on both streams. */
export interface CellLine {
  readonly cell: string;
  readonly stream: "stdout" | "stderr";
  readonly text: string;
}

export interface WorkerdProcessOptions {
  readonly workerdPath: string;
  readonly runDirectory: string;
  readonly sandbox: Sandbox;
  readonly sites: SiteTrees;
  readonly groups?: ControlGroups;
  readonly sampler: CellSampler;
  readonly watchdog: CellWatchdog;
  readonly id: string;
  readonly startMsMax: number;
  readonly startCpuMsMax: number;
  readonly clock: Clock;
  readonly onLine: (line: CellLine) => void;
}

/** A line on the control descriptor; workerd may learn to write other events, which are ignored. */
const ListenEvent = z.object({ event: z.literal("listen"), socket: z.string() });

/**
 * One workerd process and its directory, first as a zygote that waits for its config on stdin, then as
 * a cell. It is used once.
 */
export class WorkerdProcess implements Cell {
  readonly id: string;
  readonly directory: string;
  readonly exited: Promise<CellExit>;
  readonly sample: CellSample;
  readonly #options: WorkerdProcessOptions;
  readonly #process: ConfinedProcess;
  readonly #counters: ProcessCounters;
  /** Sockets that are to listen and do not yet, as far as the control descriptor told; what else it tells is ignored. */
  readonly #awaited = new Set<string>();
  #stderrTail = "";
  readonly #outputBudget: OutputBudget;
  #startMs = 0;
  #onAwaited: () => void = () => undefined;
  #isStopping = false;
  #hasEnded = false;
  /** Its latest way into a control group: a group that is made after its end would never be removed. */
  #grouped: Promise<void> = Promise.resolve();
  /** The static files that it has. */
  readonly #trees: TakenTree[] = [];
  /** Processor time that the process took as a zygote. */
  #zygoteCpuNs: number | undefined;
  /** `#usage` is all: its group goes, and its pid may soon be another's. */
  #isCounted = false;
  #usage: CellUsage = { cpuNs: 0, memoryPeakBytes: 0 };
  /** Where its clock stood when `#usage` was read. */
  #usageRanNs: number | undefined;
  /** The limit for which it is ended. */
  #breach: LimitBreach | undefined;

  private constructor(options: WorkerdProcessOptions, process: ConfinedProcess) {
    this.#options = options;
    this.id = options.id;
    this.directory = join(options.runDirectory, options.id);
    this.#process = process;
    this.#counters = new ProcessCounters(process.pid);
    this.sample = new CellSample(this.#counters);
    this.#outputBudget = new OutputBudget(options.clock.monotonicMs());
    this.#readOutput();
    this.exited = this.#waitForExit();
  }

  /** Starts a zygote. Rejects when the program can't be started at all. */
  static async spawn(options: WorkerdProcessOptions): Promise<WorkerdProcess> {
    const directory = join(options.runDirectory, options.id);
    try {
      await makeCellDirectory(directory, options.sandbox);
      const args = ["serve", "--experimental", "--binary", "-", "--control-fd=3"];
      const launch = options.sandbox.wrap({ file: options.workerdPath, args }, directory);
      const zygote = new WorkerdProcess(options, await ConfinedProcess.start(launch, directory));
      await zygote.#bound();
      return zygote;
    } catch (error) {
      await removeCell(options.runDirectory, options.id);
      throw error;
    }
  }

  get pid(): number {
    return this.#process.pid;
  }

  get startMs(): number {
    return this.#startMs;
  }

  usage(): CellUsage {
    const { ranNs } = this.sample.times;
    if (!this.#isCounted && this.#usageRanNs !== ranNs) {
      this.#usageRanNs = ranNs;
      this.#count();
    }
    return this.#usage;
  }

  #count(): void {
    const now = this.#readUsage();
    if (now === undefined || this.#zygoteCpuNs === undefined) return;
    this.#usage = {
      cpuNs: now.cpuNs - this.#zygoteCpuNs,
      memoryPeakBytes: Math.max(this.#usage.memoryPeakBytes, now.memoryPeakBytes),
    };
  }

  /** What the kernel has counted of the process; `undefined` when it is gone. */
  #readUsage(): CellUsage | undefined {
    const counted = this.#options.groups?.usage(this.id);
    const cpuNs = counted?.cpuNs ?? this.#counters.cpuNs();
    const memoryPeakBytes = counted?.memoryPeakBytes ?? this.#counters.memoryBytes() ?? 0;
    return cpuNs === undefined ? undefined : { cpuNs, memoryPeakBytes };
  }

  socketPath(name: string): string {
    return join(this.directory, `${name}.sock`);
  }

  /**
   * Turns the zygote into a cell. `begunMs` is when the start began, on the clock of `performance`.
   * Rejected with `cell_failed` or `cell_start_timeout`, and then the process is gone.
   */
  async serve(spec: CellSpec, begunMs: number): Promise<void> {
    await Promise.all([
      this.#furnish(spec),
      this.#group((groups) =>
        groups.assign(this.id, {
          pid: this.pid,
          account: spec.account,
          memoryBytes: processMemoryBytes(spec.limits),
        }),
      ),
    ]);
    this.#zygoteCpuNs = this.#readUsage()?.cpuNs;
    this.#process.stdin.end(spec.config);
    const outcome = await this.#started(spec.sockets);
    this.#startMs = performance.now() - begunMs;
    if (outcome === "listening") {
      this.#watch(spec);
      return;
    }
    const exit = await this.kill();
    if (outcome === "ended") throw new CellStartError(exit);
    const { startMsMax } = this.#options;
    throw new CellStartTimeout(exit, startMsMax);
  }

  async stop(): Promise<CellExit> {
    if (!this.#isStopping) {
      this.#isStopping = true;
      this.#process.terminate();
      const timer = setTimeout(() => this.#process.kill(), LIMITS.cellStopMs);
      void this.exited.then(() => clearTimeout(timer));
    }
    return this.exited;
  }

  /** Ends the process without asking it first: right for one that has not served yet. */
  async kill(): Promise<CellExit> {
    this.#isStopping = true;
    this.#process.kill();
    return this.exited;
  }

  /** Makes its end certain, and what it may take bounded. */
  async #bound(): Promise<void> {
    try {
      endFirstWithoutMemory(this.pid);
      await recordProcess(this.#options.runDirectory, this.id, this.pid);
      await this.#group((groups) => groups.add(this.id, this.pid));
    } catch (error) {
      await this.kill();
      throw error;
    }
  }

  async #group(enter: (groups: ControlGroups) => Promise<void>): Promise<void> {
    const { groups } = this.#options;
    if (groups === undefined || this.#hasEnded) return;
    this.#grouped = enter(groups);
    await this.#grouped;
  }

  #watch({ limits }: CellSpec): void {
    const { sampler, watchdog, groups } = this.#options;
    const stopSampling = sampler.follow(this.sample);
    const stopWatching = watchdog.watch({
      limits,
      sample: this.sample,
      isMemoryLimited: groups?.limitsMemory === true,
      probe: async () => {
        const socketPath = this.socketPath(HEALTH_SOCKET);
        await askCell({ socketPath, timeoutMs: LIMITS.watchdogAnswerMs });
      },
      end: (breach) => this.#endFor(breach),
    });
    void this.exited.then(() => {
      stopWatching();
      stopSampling();
    });
  }

  /**
   * Brings in what the config names. The sandbox was made before that was known, so nothing here may
   * lead out of the cell's directory: sockets are hard links, sites are trees of hard links.
   */
  async #furnish(spec: CellSpec): Promise<void> {
    const { sites } = this.#options;
    await Promise.all([
      ...spec.sites.map(async (site, index) => {
        this.#trees.push(await sites.take(site, join(this.directory, "sites", `${index}`)));
      }),
      ...Object.entries(spec.services).map(([name, path]) => this.#admit(path, name)),
    ]);
  }

  async #admit(socketPath: string, name: string): Promise<void> {
    const socket = join(this.directory, name);
    try {
      await link(socketPath, socket);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      // Nobody listens there, which calls will find out as they would with the socket.
      return;
    }
    // Connecting takes the right to write. Only who gets into the cell's directory reaches the socket.
    if (this.#options.sandbox.user !== undefined) await chmod(socket, 0o666);
  }

  async #started(sockets: ReadonlyArray<string>): Promise<"listening" | "ended" | "late"> {
    const { promise, resolve } = Promise.withResolvers<"listening" | "ended" | "late">();
    const cpuNs = this.#counters.times()?.ranNs ?? 0;
    for (const name of sockets) this.#awaited.add(name);
    this.#onAwaited = () => resolve("listening");
    void this.exited.then(() => resolve("ended"));
    const deadline = setTimeout(() => resolve("late"), this.#options.startMsMax);
    const checks = setInterval(() => this.#checkStart(cpuNs), LIMITS.startCheckMs);
    try {
      return await promise;
    } finally {
      clearTimeout(deadline);
      clearInterval(checks);
    }
  }

  /** Ends a start that took too much CPU time since the process had `cpuNs` of it. */
  #checkStart(cpuNs: number): void {
    const usedMs = ((this.#counters.times()?.ranNs ?? 0) - cpuNs) / 1e6;
    if (usedMs >= this.#options.startCpuMsMax) this.#endFor("exceededCpu");
  }

  #endFor(breach: LimitBreach): void {
    this.#breach = breach;
    void this.kill();
  }

  #readOutput(): void {
    const { control, stdout, stderr } = this.#process;
    readLines(control, LIMITS.cellControlLineBytes, (line) => this.#takeControlLine(line));
    readLines(stdout, LIMITS.cellOutputLineBytes, (text) => this.#tell("stdout", text));
    readLines(stderr, LIMITS.cellOutputLineBytes, (text) => {
      this.#stderrTail = `${this.#stderrTail}${text}\n`.slice(-LIMITS.cellOutputTailBytes);
      this.#tell("stderr", text);
    });
  }

  /** Passes a line on, unless there are so many of them that they would fill a disk. */
  #tell(stream: CellLine["stream"], text: string): void {
    const { clock, onLine } = this.#options;
    if (!this.#outputBudget.takes(text, clock.monotonicMs())) return;
    this.#tellOmitted();
    onLine({ cell: this.id, stream, text });
  }

  #tellOmitted(): void {
    const lines = this.#outputBudget.takeOmitted();
    if (lines === 0) return;
    const text = `${lines} lines were left out: more than ${LIMITS.cellOutputBytesPerSecond} bytes a second`;
    this.#options.onLine({ cell: this.id, stream: "stderr", text });
  }

  #takeControlLine(line: string): void {
    const event = ListenEvent.safeParse(parseJson(line));
    if (!event.success || !this.#awaited.delete(event.data.socket)) return;
    if (this.#awaited.size === 0) this.#onAwaited();
  }

  async #waitForExit(): Promise<CellExit> {
    const ended = await this.#process.ended;
    this.#hasEnded = true;
    this.#tellOmitted();
    // What went wrong with it was told to whoever started it.
    await this.#grouped.catch(() => undefined);
    const { groups, runDirectory, sites, sandbox } = this.#options;
    if (await groups?.wasOutOfMemory(this.id)) this.#breach = "exceededMemory";
    // The last moment at which its group can tell.
    this.#count();
    this.#isCounted = true;
    this.#counters.close();
    // What can't be removed now goes at the next start, with everything else in the run directory.
    await groups?.remove(this.id).catch(() => undefined);
    // A cell of the agent's own user could have changed them.
    if (sandbox.user !== undefined) {
      await Promise.all(this.#trees.map((tree) => sites.giveBack(tree)));
    }
    await removeCell(runDirectory, this.id).catch(() => undefined);
    const breach = this.#breach ?? breachOf(this.#stderrTail);
    return {
      ...ended,
      stderrTail: this.#stderrTail,
      usage: this.#usage,
      ...(breach === undefined ? {} : { breach }),
    };
  }
}

/** `cell_failed` with the exit of the process that should have become a cell. */
export class CellStartError extends EdgeError {
  readonly exit: CellExit;

  constructor(exit: CellExit) {
    const end = exit.signal ?? `status ${exit.code}`;
    super("cell_failed", `a cell ended with ${end} before it listened: ${exit.stderrTail.trim()}`);
    this.exit = exit;
  }
}

/** `cell_start_timeout` with the exit of the process that was ended for it. */
export class CellStartTimeout extends EdgeError {
  readonly exit: CellExit;

  constructor(exit: CellExit, startMsMax: number) {
    super("cell_start_timeout", `a cell did not listen within ${startMsMax} ms`);
    this.exit = exit;
  }
}

/** V8 ends a process whose heap it can't grow any more, and says so last. */
function breachOf(stderrTail: string): LimitBreach | undefined {
  return /"level":"fatal".*JavaScript heap out of memory/.test(stderrTail)
    ? "exceededMemory"
    : undefined;
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    // A line that is not JSON is no event of ours.
    return undefined;
  }
}
