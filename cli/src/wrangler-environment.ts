import { chmod, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { UsageError } from "./settings.ts";

const Variables = z.object({
  CLOUDFLARE_API_BASE_URL: z.url(),
  CLOUDFLARE_API_TOKEN: z.string().min(1),
  CLOUDFLARE_ACCOUNT_ID: z.string().min(1),
});

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

/** Writes the file so that only its owner can read the token. */
export async function writeWranglerEnvironment(
  file: string,
  variables: WranglerEnvironment,
): Promise<void> {
  await writeFile(file, formatWranglerEnvironment(variables), { mode: 0o600 });
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

/** The variables of the shell where all three are set, else those of the running `atoll up`. */
export async function requireWranglerEnvironment(options: {
  readonly environment: NodeJS.ProcessEnv;
  readonly dataDirectory: string;
}): Promise<WranglerEnvironment> {
  const fromShell = Variables.safeParse(options.environment);
  if (fromShell.success) return fromShell.data;
  const file = wranglerEnvironmentFile(options.dataDirectory);
  const fromFile = await readWranglerEnvironment(file);
  if (fromFile !== undefined) return fromFile;
  throw new UsageError(
    `No Atoll to talk to: neither CLOUDFLARE_API_BASE_URL, CLOUDFLARE_API_TOKEN and CLOUDFLARE_ACCOUNT_ID are set, nor is there a ${file}. Start one with 'atoll up' in another terminal, from the same folder or with the same ATOLL_DATA.`,
  );
}
