import { type OutgoingHttpHeaders, request } from "node:http";
import { Region } from "@atoll/control-plane/contract";
import { systemClock } from "@atoll/kv-store";
import pino from "pino";
import { expect } from "vitest";
import type { SampleWorker } from "../config/sample-version.ts";
import { BuiltinIngress, type BuiltinIngressOptions } from "../ingress/builtin/builtin-ingress.ts";
import type { CellHost } from "./cell-host.ts";
import { CellSupervisor, type CellSupervisorOptions } from "./cell-supervisor.ts";
import { SampleHost } from "./sample-host.ts";
import { servicesNowhere } from "./sample-services.ts";

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
  readonly #host: SampleHost;

  private constructor(
    host: SampleHost,
    parts: { readonly supervisor: CellSupervisor; readonly ingress: BuiltinIngress },
  ) {
    this.#host = host;
    this.supervisor = parts.supervisor;
    this.ingress = parts.ingress;
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
    const host = await SampleHost.open();
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
      host: options.disturb?.(host.cells) ?? host.cells,
      compiler: host.compiler,
      services: { open: async () => servicesNowhere(host.directory) },
      ingress,
      kvCapability: () => "capability",
      tailCapability: () => "capability",
      onSkipped: () => undefined,
      clock: systemClock,
      log,
      ...options,
    });
    return new SampleSupervisor(host, { supervisor, ingress });
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

  /** Fails when something is left, as its host does. */
  async close(): Promise<void> {
    await this.supervisor.dispose();
    await this.ingress.close();
    await this.#host.close();
  }
}
