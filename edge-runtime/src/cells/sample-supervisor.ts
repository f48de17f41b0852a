import { rm } from "node:fs/promises";
import { type OutgoingHttpHeaders, request } from "node:http";
import { join } from "node:path";
import { Region } from "@atoll/control-plane/contract";
import { systemClock } from "@atoll/kv-store";
import pino from "pino";
import { expect } from "vitest";
import { ConfigCompiler } from "../config/compile-config.ts";
import type { SampleWorker } from "../config/sample-version.ts";
import { BuiltinIngress, type BuiltinIngressOptions } from "../ingress/builtin/builtin-ingress.ts";
import type { CellHost } from "./cell-host.ts";
import { CellSupervisor, type CellSupervisorOptions } from "./cell-supervisor.ts";
import { servicesNowhere } from "./sample-services.ts";
import { makeTestDirectory } from "./test-directory.ts";
import { installedWorkerdPath, WorkerdHost } from "./workerd-host.ts";

const log = pino({ level: "silent" });

export interface SampleAnswer {
  readonly status: number;
  readonly code: string | undefined;
  readonly body: string;
}

/** For tests: a supervisor of samples on real workerd, behind an ingress. Their bindings lead nowhere. */
export class SampleSupervisor {
  readonly supervisor: CellSupervisor;
  readonly ingress: BuiltinIngress;
  readonly #host: WorkerdHost;
  readonly #directory: string;

  private constructor(
    directory: string,
    parts: { supervisor: CellSupervisor; ingress: BuiltinIngress; host: WorkerdHost },
  ) {
    this.supervisor = parts.supervisor;
    this.ingress = parts.ingress;
    this.#host = parts.host;
    this.#directory = directory;
  }

  static async open(
    options: Partial<
      Pick<
        CellSupervisorOptions,
        | "clock"
        | "cores"
        | "spareCores"
        | "memoryBudgetBytes"
        | "listeners"
        | "services"
        | "tailCapability"
        | "onSkipped"
        | "log"
      > &
        Pick<BuiltinIngressOptions, "onFailure">
    > & {
      /** Stands between the supervisor and the host. */
      readonly disturb?: (host: CellHost) => CellHost;
    } = {},
  ): Promise<SampleSupervisor> {
    const directory = await makeTestDirectory("atoll-supervisor-");
    const compiler = await ConfigCompiler.open({
      workerdPath: installedWorkerdPath(),
      scratchDirectory: join(directory, "scratch"),
    });
    const runDirectory = join(directory, "run");
    const host = await WorkerdHost.open({ runDirectory, zygoteCount: 1, log });
    const ingress = await BuiltinIngress.open({
      port: 0,
      region: Region.parse("fra"),
      activator: {
        activate: (worker) => supervisor.activate(worker),
        lossOf: (socketPath) => supervisor.lossOf(socketPath),
      },
      ...(options.onFailure && { onFailure: options.onFailure }),
      log,
    });
    const supervisor = new CellSupervisor({
      host: options.disturb?.(host) ?? host,
      compiler,
      services: { open: async () => servicesNowhere(directory) },
      ingress,
      kvCapability: () => "capability",
      tailCapability: () => "capability",
      onSkipped: () => undefined,
      clock: systemClock,
      log,
      ...options,
    });
    return new SampleSupervisor(directory, { supervisor, ingress, host });
  }

  /** Runs exactly these workers, each at `<name>.localhost`. */
  async run(...workers: ReadonlyArray<SampleWorker>): Promise<void> {
    expect(await this.supervisor.apply(workers)).toEqual([]);
    this.ingress.setRoutes(
      workers.map(({ key, name }) => ({ pattern: `${name}.localhost/*`, worker: key })),
    );
  }

  /** One request over the ingress, on a connection of its own. */
  ask(name: string, path: string, more: OutgoingHttpHeaders = {}): Promise<SampleAnswer> {
    const { promise, resolve, reject } = Promise.withResolvers<SampleAnswer>();
    const { port } = new URL(this.ingress.url);
    const headers = { host: `${name}.localhost`, ...more };
    const options = { port, path, agent: false as const, headers };
    const outgoing = request(options, (incoming) => {
      let body = "";
      incoming.on("data", (piece) => (body += String(piece)));
      incoming.on("end", () => {
        const code = incoming.headers["x-atoll-error"]?.toString();
        resolve({ status: incoming.statusCode ?? 0, code, body });
      });
    });
    outgoing.on("error", reject);
    outgoing.end();
    return promise;
  }

  /** Fails when a process is left. */
  async close(): Promise<void> {
    await this.supervisor.dispose();
    await this.ingress.close();
    await this.#host.dispose();
    const left = this.#host.processCount;
    await rm(this.#directory, { recursive: true, force: true });
    if (left > 0) throw new Error(`left: ${left} processes`);
  }
}
