import { ManualClock } from "@atoll/kv-store/manual-clock";
import { waitFor } from "@atoll/kv-store/test-support/wait-for";
import pino from "pino";
import { expect } from "vitest";
import type { SampleWorker } from "../config/sample-version.ts";
import { type TargetKey, versionTarget } from "../ingress/target-key.ts";
import { CellSupervisor } from "./cell-supervisor.ts";
import { readStartTicks } from "./process-table.ts";
import { type RoutedAnswer, RoutedCells } from "./routed-cells.ts";
import { SampleHost } from "./sample-host.ts";
import { servicesNowhere } from "./sample-services.ts";

/** For tests: a supervisor of samples on real workerd, before an ingress that retries nothing, with a clock that stands. */
export class RoutedSupervisor {
  readonly supervisor: CellSupervisor;
  readonly routes = new RoutedCells();
  readonly clock = new ManualClock();
  readonly #host: SampleHost;
  #openServices = 0;

  private constructor(host: SampleHost) {
    this.#host = host;
    this.supervisor = new CellSupervisor({
      host: host.cells,
      compiler: host.compiler,
      services: {
        open: async () => {
          this.#openServices += 1;
          return {
            ...servicesNowhere(host.directory),
            close: async () => {
              this.#openServices -= 1;
            },
          };
        },
      },
      ingress: this.routes,
      kvCapability: () => "capability",
      tailCapability: () => "capability",
      onSkipped: () => undefined,
      clock: this.clock,
      log: pino({ level: "silent" }),
    });
  }

  static async open(): Promise<RoutedSupervisor> {
    return new RoutedSupervisor(await SampleHost.open());
  }

  /** How many cells have servers open beside them. */
  get openServices(): number {
    return this.#openServices;
  }

  /** One request to a worker, or to one version of it. */
  request(target: TargetKey): Promise<RoutedAnswer> {
    return this.routes.ask(target, this.supervisor);
  }

  /** What the worker says. */
  async ask(worker: SampleWorker): Promise<string> {
    return (await this.request(worker.key)).body;
  }

  /** What this version of the worker says. */
  async askVersion({ key, version }: SampleWorker): Promise<Omit<RoutedAnswer, "status">> {
    const { body, isCold } = await this.request(versionTarget(key, version.id));
    return { body, isCold };
  }

  /** The process of the cell of which this worker is the first. */
  pidOf(name: string): number {
    const found = this.supervisor.status().find(({ workers }) => workers[0] === name);
    if (found === undefined) throw new Error(`${name} has no cell`);
    return found.pid;
  }

  /** Kills a worker's cell; resolves when its process is gone. */
  async killCell(name: string): Promise<void> {
    const pid = this.pidOf(name);
    process.kill(pid, "SIGKILL");
    await waitFor(async () => expect(await readStartTicks(pid)).toBeUndefined());
  }

  /** Fails when a process, a file or an open service is left, whatever the test did. */
  async close(): Promise<void> {
    await this.supervisor.dispose();
    await this.#host.close();
    if (this.#openServices > 0) throw new Error(`left: ${this.#openServices} open services`);
  }
}
