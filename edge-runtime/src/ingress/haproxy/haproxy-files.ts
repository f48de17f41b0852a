import { chmod, chown, copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { haproxyConfig, type HaproxyConfigOptions } from "./haproxy-config.ts";
import { MAPS, PATHS } from "./haproxy-paths.ts";
import { PAGES, type PageName, pageTexts } from "./static-pages.ts";

/** Writes everything that HAProxy reads when it starts, into an empty directory. */
export async function writeHaproxyFiles(
  directory: string,
  config: HaproxyConfigOptions,
): Promise<void> {
  const { user } = config;
  const cells = join(directory, PATHS.cells);
  await mkdir(cells, { recursive: true, mode: 0o700 });
  if (user !== undefined) {
    // Its worker process passes through both, and can list or change neither.
    for (const folder of [directory, cells]) {
      await chown(folder, process.getuid?.() ?? 0, user.groupId);
      await chmod(folder, 0o710);
    }
  }
  const texts = pageTexts();
  const pages = Object.keys(PAGES) as PageName[];
  await Promise.all([
    // Empty: HAProxy wants to read something before the runtime socket can change it.
    ...Object.values(MAPS).map((name) => writeFile(join(directory, name), "")),
    ...pages.map((name) => writeFile(join(directory, PAGES[name]), texts[name])),
    copyFile(new URL(PATHS.lostRequests, import.meta.url), join(directory, PATHS.lostRequests)),
    writeFile(join(directory, PATHS.config), haproxyConfig(config), { mode: 0o600 }),
  ]);
}
