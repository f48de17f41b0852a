import { chmod, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { UsageError } from "./settings.ts";

const Variables = z.object({
  CLOUDFLARE_API_BASE_URL: z.url({ protocol: /^https?$/ }),
  CLOUDFLARE_API_TOKEN: z.string().min(1),
  CLOUDFLARE_ACCOUNT_ID: z.string().min(1),
});

const NAMES = "CLOUDFLARE_API_BASE_URL, CLOUDFLARE_API_TOKEN and CLOUDFLARE_ACCOUNT_ID";

/** The three variables that point wrangler at an Atoll. */
export type WranglerEnvironment = z.infer<typeof Variables>;

/** Where `atoll up` writes them. */
export function wranglerEnvironmentFile(dataDirectory: string): string {
  return join(dataDirectory, "wrangler.env");
}

/** The file's lines: a shell can `source` them, and they pass the variables on to what it starts. */
export function formatWranglerEnvironment(variables: WranglerEnvironment): string {
  return Object.entries(variables)
    .map(([name, value]) => `export ${name}=${value}\n`)
    .join("");
}

/**
 * Writes the file so that only its owner can read the token. `nodeDirectory` is put first in the PATH of
 * whoever sources the file: for machines whose own Node is too old for wrangler.
 */
export async function writeWranglerEnvironment(
  file: string,
  variables: WranglerEnvironment,
  nodeDirectory?: string,
): Promise<void> {
  const path = nodeDirectory === undefined ? "" : `export PATH=${quoted(nodeDirectory)}:"$PATH"\n`;
  await writeFile(file, formatWranglerEnvironment(variables) + path, { mode: 0o600 });
  // The mode above holds only for a new file.
  await chmod(file, 0o600);
}

/** What the file says; `undefined` when it is missing or incomplete. */
export async function readWranglerEnvironment(
  file: string,
): Promise<WranglerEnvironment | undefined> {
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
  const lines = [...text.matchAll(/^(?:export )?([A-Z_]+)=(.*)$/gm)];
  const parsed = Variables.safeParse(
    Object.fromEntries(lines.map(([, name, value]) => [name, value])),
  );
  return parsed.success ? parsed.data : undefined;
}

/**
 * The variables of the shell where it names an API, else those of the running `atoll up`. A token and an account alone
 * are not taken for either's: many shells have those of Cloudflare.
 */
export async function requireWranglerEnvironment(options: {
  readonly environment: NodeJS.ProcessEnv;
  readonly dataDirectory: string;
}): Promise<WranglerEnvironment> {
  const { environment } = options;
  const fromShell = Variables.safeParse(environment);
  if (fromShell.success) return fromShell.data;
  // Who names another Atoll means that one, and would not see that this machine's was asked instead.
  if (environment["CLOUDFLARE_API_BASE_URL"]) {
    const [wrong] = fromShell.error.issues.map(({ path: [name] }) => String(name));
    const fault = environment[wrong ?? ""] ? "is no http:// or https:// URL" : "is not set";
    throw new UsageError(
      `CLOUDFLARE_API_BASE_URL is set, but ${wrong} ${fault}: set all three of ${NAMES}, or none for the one on this machine.`,
    );
  }
  const file = wranglerEnvironmentFile(options.dataDirectory);
  const fromFile = await readWranglerEnvironment(file);
  if (fromFile !== undefined) return fromFile;
  throw new UsageError(
    `No Atoll to talk to: neither ${NAMES} are set, nor is there a ${file}. Start one with 'atoll up' in another terminal, from the same folder or with the same ATOLL_DATA.`,
  );
}

/** The text as one word of a shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/**
 * The folder of the Node that runs this, when it came with the dependencies: then the machine's own is
 * older, and wrangler would refuse it.
 */
export function packagedNodeDirectory(execPath: string): string | undefined {
  return /\/node_modules\/node-linux-[a-z0-9]+\/bin\/node$/.test(execPath)
    ? dirname(execPath)
    : undefined;
}
