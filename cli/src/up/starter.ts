import { cp, mkdir } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { runWrangler } from "../wrangler.ts";
import type { WranglerEnvironment } from "../wrangler-environment.ts";

/** Name of the worker that the starter deploys, as its wrangler configuration has it. */
export const STARTER_NAME = "starter";

/**
 * Deploys the example site as any user would, with wrangler, from a copy in the data directory: what
 * wrangler leaves behind in a project does not end up in the sources.
 */
export async function deployStarter(options: {
  readonly dataDirectory: string;
  readonly variables: WranglerEnvironment;
}): Promise<void> {
  const directory = join(options.dataDirectory, STARTER_NAME);
  const manifest = createRequire(import.meta.url).resolve("@atoll/sites/package.json");
  await mkdir(directory, { recursive: true });
  await cp(join(dirname(manifest), "starter"), directory, { recursive: true });
  const { exitCode, output } = await runWrangler({
    directory,
    arguments: ["deploy"],
    variables: options.variables,
    environment: { CI: "true" },
    output: "capture",
  });
  if (exitCode !== 0) throw new Error(`wrangler could not deploy the example site:\n${output}`);
}
