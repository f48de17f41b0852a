import { access, constants, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Bubblewrap } from "./bubblewrap.ts";
import { cellUser, giveToCell } from "./cell-user.ts";
import { ConfinedProcess } from "./confined-process.ts";
import { DIE_WITH_AGENT, NO_SANDBOX, type Sandbox } from "./sandbox.ts";
import { seccompFilter } from "./seccomp-filter.ts";
import { sharedLibraries } from "./shared-libraries.ts";

/** The strictest sandbox of a host, and why it is not stricter. */
export interface FoundSandbox {
  readonly sandbox: Sandbox;
  /** What the host does not give; absent when it gives everything. */
  readonly shortfall?: string;
}

/**
 * Finds the strictest sandbox that this host can give by starting workerd in it. `owner` names whose
 * cells they are: those of different owners run as different users, when the agent may choose.
 */
export async function findSandbox(options: {
  readonly workerdPath: string;
  readonly owner: string;
}): Promise<FoundSandbox> {
  try {
    return { sandbox: await openBubblewrap(options) };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const shortfall = `cells run without a sandbox: ${reason}`;
    return { sandbox: await findUnconfined(), shortfall };
  }
}

async function openBubblewrap(options: {
  readonly workerdPath: string;
  readonly owner: string;
}): Promise<Sandbox> {
  const { arch } = process;
  if (arch !== "x64" && arch !== "arm64") throw new Error(`there is no filter for ${arch}`);
  const sandbox = new Bubblewrap({
    user: cellUser(options.owner),
    libraries: await sharedLibraries(options.workerdPath),
    filter: seccompFilter(arch),
  });
  await tryOut(sandbox, options.workerdPath);
  return sandbox;
}

/** Lets workerd say its version inside of the sandbox. Rejects with what went wrong. */
async function tryOut(sandbox: Sandbox, workerdPath: string): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), "atoll-probe-"));
  try {
    await mkdir(join(root, "sites"));
    await giveToCell(root, sandbox);
    const launch = sandbox.wrap({ file: workerdPath, args: ["--version"] }, root);
    const probe = await ConfinedProcess.start(launch, root);
    let said = "";
    for (const stream of [probe.stdout, probe.stderr]) {
      stream.on("data", (chunk) => (said = (said + String(chunk)).slice(0, 1_000)));
    }
    probe.control.resume();
    const { code, signal } = await probe.ended;
    if (code !== 0) throw new Error(`workerd ended with ${signal ?? code} in it: ${said.trim()}`);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

async function findUnconfined(): Promise<Sandbox> {
  try {
    await access("/usr/bin/setpriv", constants.X_OK);
    return DIE_WITH_AGENT;
  } catch {
    // Without util-linux there is the reaping of stale cells at the next start, and nothing else.
    return NO_SANDBOX;
  }
}
