import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import {
  AccountId,
  type Preflight,
  type PreflightCandidate,
  type PreflightResult,
} from "@atoll/control-plane/contract";
import { init, parse } from "es-module-lexer";
import type { Logger } from "pino";
import { limitsOf } from "../cells/cell-limits.ts";
import { openCellRoot } from "../cells/cell-root.ts";
import {
  installedWorkerdPath,
  newestCompatibilityDate,
  WorkerdHost,
} from "../cells/workerd-host.ts";
import { CellStartError } from "../cells/workerd-process.ts";
import { HEALTH_SOCKET } from "../config/cell-interface.ts";
import { ConfigCompiler } from "../config/compile-config.ts";
import { FairTurnstile } from "../config/fair-turnstile.ts";
import { configureGroup, type GroupMember } from "../config/group-config.ts";
import { EdgeError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { openConfinement } from "../sandbox/confinement.ts";
import { startFailure } from "./start-failure.ts";
import { stubWorkers, unboundName, type StubWorker } from "./stub-worker.ts";

export interface WorkerdPreflightOptions {
  /** For this preflight alone; it is emptied at start and removed at the end. */
  readonly directory: string;
  readonly log: Logger;
  /** How long top-level code may take; by default `LIMITS.preflightStartMs`. */
  readonly startMsMax?: number;
  /** Refuses to open on a host that can't confine cells fully. */
  readonly requireSandbox?: boolean;
}

// The account of the throw-away cell: nothing outside of it ever sees the name.
const NO_ACCOUNT = AccountId.parse("0".repeat(32));

/** Starts versions in throw-away cells whose bindings reach nothing. See `Preflight`. */
export class WorkerdPreflight implements Preflight {
  readonly newestCompatibilityDate = newestCompatibilityDate();
  readonly #options: WorkerdPreflightOptions;
  readonly #host: WorkerdHost;
  readonly #compiler: ConfigCompiler;
  readonly #turnstile = new FairTurnstile({ runningMax: LIMITS.preflightsMax });
  readonly #runDirectory: string;

  private constructor(
    options: WorkerdPreflightOptions,
    parts: {
      readonly host: WorkerdHost;
      readonly compiler: ConfigCompiler;
      readonly runDirectory: string;
    },
  ) {
    this.#options = options;
    this.#host = parts.host;
    this.#compiler = parts.compiler;
    this.#runDirectory = parts.runDirectory;
  }

  static async open(options: WorkerdPreflightOptions): Promise<WorkerdPreflight> {
    // Stands for the directory of every version's static files: no request ever asks for one.
    await mkdir(join(options.directory, "site"), { recursive: true, mode: 0o700 });
    const workerdPath = installedWorkerdPath();
    const compiler = await ConfigCompiler.open({
      workerdPath,
      scratchDirectory: join(options.directory, "compile"),
    });
    const { directory, log } = options;
    const confinement = await openConfinement({
      workerdPath,
      owner: directory,
      isRequired: options.requireSandbox ?? false,
      log,
    });
    const runDirectory = await openCellRoot(join(directory, "run"), confinement.sandbox);
    const host = await WorkerdHost.open({
      runDirectory,
      confinement,
      zygoteCount: 1,
      startMsMax: options.startMsMax ?? LIMITS.preflightStartMs,
      startCpuMsMax: LIMITS.preflightStartCpuMs,
      log,
    });
    return new WorkerdPreflight(options, { host, compiler, runDirectory });
  }

  async check(candidate: PreflightCandidate): Promise<PreflightResult> {
    const result = await this.#turnstile.run(candidate.account, () => this.#start(candidate));
    // What throws says where; a module that starts may still have nothing to call.
    const missing = result.kind === "started" ? await missingExport(candidate) : undefined;
    return missing === undefined ? result : { kind: "failed", message: missing };
  }

  /** Ends all checks. May be called twice. */
  async dispose(): Promise<void> {
    await this.#host.dispose();
    await rm(this.#options.directory, { recursive: true, force: true });
    await rm(this.#runDirectory, { recursive: true, force: true });
  }

  async #start(candidate: PreflightCandidate): Promise<PreflightResult> {
    const { version, secrets, settings } = candidate;
    const stubs = stubWorkers(version, NO_ACCOUNT);
    const name = unboundName(version);
    const member: GroupMember = {
      key: `${NO_ACCOUNT}/${name}`,
      name,
      version,
      secrets,
      siteDirectory: join(this.#options.directory, "site"),
    };
    const config = configureGroup([member, ...stubs.map((stub) => stub.member)], () => "nothing");
    const binary = await this.#compiler.compile(config, readBlob(candidate, stubs));
    try {
      const cell = await this.#host.start({
        config: binary,
        sockets: [...config.workerSockets.values(), HEALTH_SOCKET],
        sites: config.sites,
        services: {},
        account: NO_ACCOUNT,
        limits: limitsOf([{ ...member, settings }]),
      });
      await cell.kill();
      return { kind: "started", startupMs: Math.round(cell.startMs) };
    } catch (error) {
      return { kind: "failed", message: failureMessage(error, candidate) };
    }
  }
}

/**
 * Why a module can't handle any request, when its text alone says so. workerd starts a module without a
 * default export, and sends what is meant for it to the internet.
 */
async function missingExport({
  version,
  readBlob,
}: PreflightCandidate): Promise<string | undefined> {
  if (version.code.kind !== "modules") return undefined;
  const [main] = version.code.modules;
  if (main === undefined || main.kind !== "esm") return undefined;
  if (await exportsDefault(Buffer.from(await readBlob(main.blob)).toString("utf8")))
    return undefined;
  return (
    `No event handlers were registered. This script does nothing: ` +
    `${main.name} has no default export.`
  );
}

async function exportsDefault(source: string): Promise<boolean> {
  await init();
  try {
    // `export *` passes everything on but the default.
    return parse(source)[1].some((each) => each.type !== "reexport-all" && each.name === "default");
  } catch {
    // Not a module that can be parsed: workerd says so better, with the place.
    return true;
  }
}

function readBlob(
  candidate: PreflightCandidate,
  stubs: ReadonlyArray<StubWorker>,
): (hash: string) => Promise<Uint8Array> {
  const sources = new Map(stubs.map((stub) => [stub.blob, Buffer.from(stub.source)]));
  return async (hash) => sources.get(hash) ?? candidate.readBlob(hash);
}

/** The message for the developer; rethrows what is not the version's fault. */
function failureMessage(error: unknown, { version, settings }: PreflightCandidate): string {
  if (error instanceof CellStartError && error.exit.breach === "exceededCpu") {
    return (
      `Script startup exceeded CPU time limit: its top-level code took more than ` +
      `${LIMITS.preflightStartCpuMs} ms. Is there a loop at its top level?`
    );
  }
  if (error instanceof CellStartError && error.exit.breach === "exceededMemory") {
    return (
      `Script startup exceeded memory limit: its top-level code took more than the ` +
      `${settings.memoryMib} MB that its account grants a worker.`
    );
  }
  if (error instanceof CellStartError) {
    const { code } = version;
    return startFailure(error.exit, code.kind === "service-worker" ? code.script.name : "");
  }
  if (error instanceof EdgeError && error.code === "cell_start_timeout") {
    return "The script did not finish its top-level code in time. Is there a loop at its top level?";
  }
  throw error;
}
