import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestAtoll } from "../../support/atoll.ts";

const SOURCE = join(import.meta.dirname, "hello.worker.ts");

/** The application that every peer serves, as wrangler uploads it. */
export interface HelloBundle {
  /** A project of wrangler's, whose `index.js` is the module. */
  readonly directory: string;
  readonly source: string;
}

/** Bundles the application once, so that what differs is who serves it. It is removed with `resources`. */
export async function bundleHello(
  resources: AsyncDisposableStack,
  atoll: TestAtoll,
): Promise<HelloBundle> {
  const directory = await mkdtemp(join(tmpdir(), "atoll-hello-"));
  resources.defer(() => rm(directory, { recursive: true, force: true }));
  const project = (main: string): string =>
    JSON.stringify({ name: "hello", main, compatibility_date: "2026-06-01" });
  await writeFile(join(directory, "wrangler.json"), project(SOURCE));
  const bundled = await atoll.wrangler(directory, ["deploy", "--dry-run", "--outdir", "out"]);
  if (bundled.exitCode !== 0) throw new Error(`the bundle failed:\n${bundled.output}`);
  const source = await readFile(join(directory, "out", "hello.worker.js"), "utf8");
  await writeFile(join(directory, "index.js"), source);
  await writeFile(join(directory, "wrangler.json"), project("index.js"));
  return { directory, source };
}
