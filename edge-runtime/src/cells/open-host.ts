import { hkdfSync } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "pino";
import { ConfigCompiler } from "../config/compile-config.ts";
import { ConfigCache } from "../config/config-cache.ts";
import { LIMITS } from "../limits.ts";
import { scratchDirectoryOf } from "../node-directories.ts";
import type { Confinement } from "../sandbox/confinement.ts";
import { installedWorkerdPath, WorkerdHost } from "./workerd-host.ts";

/** What cells are made of, and made by. Ways to close it are added to `closers`, also when a later step fails. */
export async function openHost(options: {
  readonly dataDirectory: string;
  /** Where cells have their directories. */
  readonly runDirectory: string;
  readonly nodeKey: Uint8Array;
  readonly confinement: Confinement;
  readonly closers: Array<() => Promise<void> | void>;
  readonly log: Logger;
}): Promise<{ readonly host: WorkerdHost; readonly compiler: ConfigCompiler }> {
  const { dataDirectory, runDirectory, nodeKey, confinement, closers, log } = options;
  const cache = await ConfigCache.open({
    directory: join(dataDirectory, "configs"),
    key: new Uint8Array(hkdfSync("sha256", nodeKey, new Uint8Array(), "atoll config cache v1", 32)),
    log,
  });
  const scratchDirectory = scratchDirectoryOf(dataDirectory);
  const compiler = await ConfigCompiler.open({
    workerdPath: installedWorkerdPath(),
    scratchDirectory,
    cache,
  });
  closers.push(() => rm(scratchDirectory, { recursive: true, force: true }));
  const host = await WorkerdHost.open({
    runDirectory,
    confinement,
    zygoteCount: LIMITS.zygoteCount,
    zygoteCountMax: LIMITS.zygoteCountMax,
    log,
    onLine: ({ cell, stream, text }) => log.info({ cell, stream, text }, "cell output"),
  });
  closers.push(() => host.dispose());
  return { host, compiler };
}
