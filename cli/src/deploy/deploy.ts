import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { UsageError } from "../settings.ts";
import { fetchStatus } from "../status/status.ts";
import { runWrangler } from "../wrangler.ts";
import type { WranglerEnvironment } from "../wrangler-environment.ts";
import { describeUrls } from "./urls.ts";

// The line in which wrangler reports a deploy; a dry run has one too, but without a version.
const DeployReport = z.looseObject({
  type: z.literal("deploy"),
  worker_name: z.string(),
  version_id: z.string(),
});

/**
 * `atoll deploy`: wrangler's own deploy, pointed at this Atoll, and then the worker's true URLs, which
 * wrangler can't know. Resolves with wrangler's exit code.
 */
export async function deploy(options: {
  readonly directory: string;
  readonly arguments: ReadonlyArray<string>;
  readonly variables: WranglerEnvironment;
}): Promise<number> {
  const reports = await mkdtemp(join(tmpdir(), "atoll-deploy-"));
  try {
    const file = join(reports, "wrangler.ndjson");
    const { exitCode } = await runWrangler({
      ...options,
      arguments: ["deploy", ...options.arguments],
      environment: { WRANGLER_OUTPUT_FILE_PATH: file },
      output: "inherit",
    });
    if (exitCode !== 0) return exitCode;
    const worker = parseWorkerName(await readFile(file, "utf8").catch(() => ""));
    if (worker !== undefined) await printUrls(worker, options.variables);
    return 0;
  } finally {
    await rm(reports, { recursive: true, force: true });
  }
}

function parseWorkerName(lines: string): string | undefined {
  for (const line of lines.split("\n").filter((text) => text !== "")) {
    const report = DeployReport.safeParse(JSON.parse(line));
    if (report.success) return report.data.worker_name;
  }
  return undefined;
}

async function printUrls(worker: string, variables: WranglerEnvironment): Promise<void> {
  try {
    const lines = describeUrls(await fetchStatus(variables), worker);
    if (lines.length > 0) console.log(`\n${worker} is served at:\n${lines.join("\n")}`);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    // It is deployed all the same: whoever goes by the exit code must not believe otherwise.
    console.error(
      `atoll: ${worker} is deployed; where it is served can't be told: ${error.message}`,
    );
  }
}
