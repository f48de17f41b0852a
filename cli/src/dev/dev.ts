import { type DevSessionOptions, startDevSession } from "./dev-session.ts";

/**
 * Runs the project in this process, until Ctrl-C or SIGTERM ends the process with everything that it
 * started. Resolves when it listens. Requests, reloads and errors are printed as they happen.
 */
export async function runDev(options: DevSessionOptions): Promise<void> {
  // Miniflare does the same once it runs; before, too, what was started must be cleaned up.
  process.once("SIGINT", () => process.exit(130));
  process.once("SIGTERM", () => process.exit(143));
  const { url } = await startDevSession(options);
  const kv =
    options.remoteKv === undefined
      ? "local, in .wrangler/state"
      : `that of ${options.remoteKv.CLOUDFLARE_API_BASE_URL}`;
  console.log(`atoll: ${url.href} reloads on save; KV is ${kv}; Ctrl-C stops`);
}
