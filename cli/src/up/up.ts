import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { requirePlaces } from "../database-place.ts";
import { issueJoinToken } from "../join-token/join-token.ts";
import { lockData } from "../processes/data-lock.ts";
import { ManagedProcess } from "../processes/managed-process.ts";
import type { Running } from "../processes/serve-until-stopped.ts";
import { LOCAL_REGIONS, type Settings } from "../settings.ts";
import {
  formatWranglerEnvironment,
  readWranglerEnvironment,
  wranglerEnvironmentFile,
  type WranglerEnvironment,
} from "../wrangler-environment.ts";
import { LogFiles } from "./log-files.ts";
import { nodeArguments, nodeData } from "./node-arguments.ts";
import { requireFreePorts, requireOtherPorts } from "./ports.ts";
import { writeProcessIds } from "./process-ids.ts";
import { starterMarker } from "./starter-marker.ts";
import { deployStarter, STARTER_NAME } from "./starter.ts";
import { waitUntilTogether } from "./together.ts";

const CONTROL_PLANE = "control-plane";

/**
 * `atoll up`: a control plane and three nodes on this machine, each its own process, started again when
 * it dies. Resolves when all of it serves; `close` stops every process.
 */
export async function up(
  settings: Settings,
  options: { readonly requireSandbox: boolean },
): Promise<Running> {
  const { dataDirectory, port, metricsPort } = settings;
  const { databaseUrl: database, blobStore } = settings;
  requirePlaces(join(dataDirectory, CONTROL_PLANE), { database, blobStore });
  const ports = [port, ...LOCAL_REGIONS.map((_, index) => port + 1 + index)];
  const metricsPorts =
    metricsPort === undefined ? [] : LOCAL_REGIONS.map((_, index) => metricsPort + index);
  requireOtherPorts(metricsPorts, new Set(ports));
  await requireFreePorts("ATOLL_PORT", ports);
  await requireFreePorts("ATOLL_METRICS_PORT", metricsPorts);
  const lock = await lockData(dataDirectory, { kind: "Atoll" });
  const logs = await LogFiles.open(join(dataDirectory, "logs"), (text) => console.error(text));
  const processes: ManagedProcess[] = [];
  const running: Running = {
    close: async () => {
      console.log("\nStopping … (requests may end; Ctrl-C again does not wait for them)");
      for (const part of processes) part.expectEnd();
      // Nodes first, so that none of them reports a control plane that is only going away.
      await Promise.all(processes.slice(1).map((node) => node.stop()));
      await processes[0]?.stop();
      logs.close();
      lock.close();
    },
  };
  try {
    await startAll({ settings, logs, processes, ...options });
    const variables = await readWranglerEnvironment(wranglerEnvironmentFile(dataDirectory));
    if (variables === undefined) throw new Error("the control plane wrote no wrangler.env");
    await waitUntilTogether(variables);
    await deployStarterOnce({ dataDirectory, variables });
    printWelcome(settings, variables);
    return running;
  } catch (error) {
    await running.close();
    throw error;
  }
}

async function startAll(context: {
  readonly settings: Settings;
  readonly logs: LogFiles;
  readonly processes: ManagedProcess[];
  readonly requireSandbox: boolean;
}): Promise<void> {
  const { settings, logs, processes } = context;
  const confinement = context.requireSandbox ? ["--require-sandbox"] : [];
  const { dataDirectory, port } = settings;
  const manage = (name: string, commandArguments: ReadonlyArray<string>): ManagedProcess => {
    const managed = new ManagedProcess({
      name,
      arguments: commandArguments,
      onLine: (line) => logs.write(name, line),
      onCrash: (ending) => {
        console.error(`${name.padEnd(13)} ended with ${ending}, starting it again`);
      },
      onStart: () => writeProcessIds(dataDirectory, processes),
    });
    processes.push(managed);
    return managed;
  };
  console.log("Starting the control plane …");
  const controlPlaneData = join(dataDirectory, "control-plane");
  await manage(CONTROL_PLANE, [
    "control-plane",
    ...["--data", controlPlaneData],
    ...["--port", String(port)],
    ...["--ingress-port", String(port + 1)],
    ...["--wrangler-env", wranglerEnvironmentFile(dataDirectory)],
    "--open-console",
    ...confinement,
  ]).start();
  const joining = await joinTokens(settings, controlPlaneData);
  console.log(`Starting the nodes ${LOCAL_REGIONS.join(", ")} …`);
  await Promise.all(
    LOCAL_REGIONS.map(async (region) => {
      await manage(region, [
        ...nodeArguments(region, settings),
        ...(joining.get(region) ?? []),
        ...confinement,
      ]).start();
    }),
  );
}

/** The `--join` option of each node that has no identity yet. */
async function joinTokens(
  { dataDirectory, databaseUrl }: Settings,
  controlPlaneData: string,
): Promise<ReadonlyMap<string, ReadonlyArray<string>>> {
  const joining = new Map<string, ReadonlyArray<string>>();
  // One after another: within one process, two writers of the database would wait for each other.
  for (const region of LOCAL_REGIONS) {
    if (existsSync(join(nodeData(dataDirectory, region), "identity.json"))) continue;
    const token = await issueJoinToken({ dataDirectory: controlPlaneData, databaseUrl });
    joining.set(region, ["--join", token]);
  }
  return joining;
}

/** The example site comes with the first start; whoever deletes it later does not get it back. */
async function deployStarterOnce(options: {
  readonly dataDirectory: string;
  readonly variables: WranglerEnvironment;
}): Promise<void> {
  const marker = starterMarker(options.dataDirectory);
  if (existsSync(marker)) return;
  console.log("Deploying the example site with wrangler …");
  await deployStarter(options);
  await writeFile(marker, "");
}

function printWelcome({ dataDirectory, port }: Settings, variables: WranglerEnvironment): void {
  const file = shownPath(wranglerEnvironmentFile(dataDirectory));
  const links = LOCAL_REGIONS.map(
    (region, index) => `    ${region}  http://${STARTER_NAME}.localhost:${port + 1 + index}/`,
  );
  console.log(`
Atoll is up.

  Console   http://127.0.0.1:${port}/
  Example site, from each region:
${links.join("\n")}

  Point wrangler here, then deploy any Workers project:

${formatWranglerEnvironment(variables).replace(/^/gm, "    ").trimEnd()}

    source ${file}; npx wrangler deploy

  Logs are in ${shownPath(join(dataDirectory, "logs"))}. Ctrl-C stops everything.
`);
}

/** A path as people type it: from here when it lies below, else whole. */
function shownPath(path: string): string {
  const fromHere = relative(process.cwd(), path);
  return fromHere.startsWith("..") ? path : fromHere;
}
