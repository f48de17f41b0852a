import { join } from "node:path";
import { ConfigCompiler } from "../config/compile-config.ts";
import { configureGroup } from "../config/group-config.ts";
import { sampleModule, type Sample } from "../config/sample-version.ts";
import type { CellSpec } from "./cell-host.ts";
import { limitsOf } from "./cell-limits.ts";
import { installedWorkerdPath } from "./workerd-host.ts";

/** For tests: what a cell of one module runs, compiled below `directory`. Its worker listens as `w0`. */
export async function sampleCellSpec(
  source: string,
  directory: string,
  sample: Sample = {},
): Promise<CellSpec> {
  const worker = sampleModule(source, sample);
  const config = configureGroup([worker], () => "capability");
  const compiler = await ConfigCompiler.open({
    workerdPath: installedWorkerdPath(),
    scratchDirectory: join(directory, "scratch"),
  });
  const binary = await compiler.compile(config, worker.readBlob);
  return {
    account: worker.account,
    config: binary,
    sockets: ["w0", "health"],
    sites: [],
    services: {},
    limits: limitsOf([worker]),
  };
}
