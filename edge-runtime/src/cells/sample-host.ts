import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import pino from "pino";
import { ConfigCompiler } from "../config/compile-config.ts";
import { ConfigCache } from "../config/config-cache.ts";
import { makeTestDirectory } from "./test-directory.ts";
import { installedWorkerdPath, WorkerdHost } from "./workerd-host.ts";

/** For tests: where cells of samples run on real workerd, and what compiles their configurations. */
export class SampleHost {
  /** The test may put files of its own here; they go with it. */
  readonly directory: string;
  readonly cells: WorkerdHost;
  readonly compiler: ConfigCompiler;

  private constructor(
    directory: string,
    parts: { readonly cells: WorkerdHost; readonly compiler: ConfigCompiler },
  ) {
    this.directory = directory;
    this.cells = parts.cells;
    this.compiler = parts.compiler;
  }

  static async open(): Promise<SampleHost> {
    const directory = await makeTestDirectory("atoll-cells-");
    const log = pino({ level: "silent" });
    const cache = await ConfigCache.open({
      directory: join(directory, "configs"),
      key: new Uint8Array(32).fill(7),
      log,
    });
    const compiler = await ConfigCompiler.open({
      workerdPath: installedWorkerdPath(),
      scratchDirectory: join(directory, "scratch"),
      cache,
    });
    const cells = await WorkerdHost.open({
      runDirectory: join(directory, "run"),
      zygoteCount: 1,
      log,
    });
    return new SampleHost(directory, { cells, compiler });
  }

  /** Fails when a process is left, or a file of a cell or of a compilation. */
  async close(): Promise<void> {
    await this.cells.dispose();
    const left = [
      ...(await readdir(join(this.directory, "run"))),
      ...(await readdir(join(this.directory, "scratch"))),
    ];
    const { processCount } = this.cells;
    await rm(this.directory, { recursive: true, force: true });
    if (processCount + left.length > 0) {
      throw new Error(`left: ${processCount} processes, ${left.join()}`);
    }
  }
}
