import { randomUUID } from "node:crypto";
import { constants, statSync } from "node:fs";
import {
  chmod,
  copyFile,
  link,
  lstat,
  mkdir,
  readdir,
  rename,
  rm,
  stat,
  utimes,
} from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "@atoll/kv-store";
import type { Logger } from "pino";
import { Turnstile } from "../config/turnstile.ts";
import { LIMITS } from "../limits.ts";

export interface SiteTreesOptions {
  /** For this instance alone, on the file system of the cells' directories. */
  readonly directory: string;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A tree that a cell has. */
export interface TakenTree {
  readonly site: string;
  readonly path: string;
  /** Tells it from what a cell may have put in its place. */
  readonly inode: bigint;
}

/**
 * Static files as cells get them: trees of hard links, one for each cell, in the cell's own directory.
 * So a cell needs no path that leads to the sites of others. One tree per site lies ready, because
 * moving it is one step, and linking thousands of files would be most of a cold start.
 */
export class SiteTrees {
  readonly #options: SiteTreesOptions;
  /** Sites of which a tree should lie ready, with that tree's path once it is made. */
  readonly #ready = new Map<string, Promise<string | undefined>>();
  /** Sites of which the next tree is made in a moment, each with what keeps it from that. */
  readonly #waiting = new Map<string, () => void>();
  readonly #turnstile = new Turnstile(LIMITS.siteTreesMax);
  #kept: ReadonlySet<string> = new Set();

  constructor(options: SiteTreesOptions) {
    this.#options = options;
  }

  /** Puts a tree of the site at `target`, which must not exist. */
  async take(site: string, target: string): Promise<TakenTree> {
    const making = this.#ready.get(site);
    // Taken off before anything is waited for: it is for one cell alone.
    this.#ready.delete(site);
    const ready = await making;
    if (ready === undefined) await linkTree(site, target);
    else await rename(ready, target);
    this.#prepareLater(site);
    return { site, path: target, inode: await inodeOf(target) };
  }

  /**
   * Takes back the tree of a cell that has ended and could not change it, when the site has none ready: a new
   * version often has the old one's files. Else it stays where it is.
   */
  async giveBack(tree: TakenTree): Promise<void> {
    if (!this.#kept.has(tree.site) || this.#ready.has(tree.site)) return;
    const returned = this.#reclaim(tree);
    this.#ready.set(tree.site, returned);
    await returned;
  }

  /** Has a tree ready of each of these sites, some time later, and forgets the others. */
  keepReady(sites: Iterable<string>): void {
    this.#kept = new Set(sites);
    for (const site of this.#kept) this.#prepare(site);
    for (const [site, ready] of this.#ready) {
      if (this.#kept.has(site)) continue;
      this.#ready.delete(site);
      void ready.then(removeTree);
    }
  }

  /** Removes every tree that no cell took. */
  async close(): Promise<void> {
    this.#kept = new Set();
    for (const stop of this.#waiting.values()) stop();
    this.#waiting.clear();
    const ready = [...this.#ready.values()];
    this.#ready.clear();
    await Promise.all(ready);
    await rm(this.#options.directory, { recursive: true, force: true });
  }

  /** When the cell that took the last one has started, which needs the machine more, and none came back. */
  #prepareLater(site: string): void {
    if (!this.#kept.has(site) || this.#waiting.has(site)) return;
    const stop = this.#options.clock.every(LIMITS.siteTreeRefillMs, () => {
      stop();
      this.#waiting.delete(site);
      this.#prepare(site);
    });
    this.#waiting.set(site, stop);
  }

  #prepare(site: string): void {
    if (!this.#kept.has(site) || this.#ready.has(site)) return;
    this.#ready.set(
      site,
      this.#turnstile.run(() => this.#make(site)),
    );
  }

  async #reclaim({ site, path, inode }: TakenTree): Promise<string | undefined> {
    try {
      // The directory above it belonged to the cell, which may have led this path to anything.
      if ((await inodeOf(path)) !== inode)
        throw new Error(`${path} is not the tree that was put there`);
      const tree = await this.#place();
      await rename(path, tree);
      return tree;
    } catch (error) {
      this.#options.log.warn(
        { err: error, site },
        "could not take back the static files of a cell",
      );
      return undefined;
    }
  }

  /** Where a tree can lie ready. */
  async #place(): Promise<string> {
    await mkdir(this.#options.directory, { recursive: true, mode: 0o700 });
    return join(this.#options.directory, randomUUID());
  }

  async #make(site: string): Promise<string | undefined> {
    let tree: string | undefined;
    try {
      tree = await this.#place();
      await linkTree(site, tree);
      return tree;
    } catch (error) {
      // Whoever needs one makes it, and then the error is theirs.
      this.#options.log.warn({ err: error, site }, "could not prepare the static files of a cell");
      await removeTree(tree);
      return undefined;
    }
  }
}

async function inodeOf(path: string): Promise<bigint> {
  return (await lstat(path, { bigint: true })).ino;
}

async function removeTree(tree: string | undefined): Promise<void> {
  // What can't be removed now goes with the whole directory, at the end or at the next start.
  if (tree !== undefined) await rm(tree, { recursive: true, force: true }).catch(() => undefined);
}

async function linkTree(source: string, target: string): Promise<void> {
  await mkdir(target);
  await chmod(target, 0o755);
  const entries = await readdir(source, { withFileTypes: true });
  for (let start = 0; start < entries.length; start += LIMITS.siteLinksMax) {
    await Promise.all(
      entries.slice(start, start + LIMITS.siteLinksMax).map(async (entry) => {
        const [from, to] = [join(source, entry.name), join(target, entry.name)];
        if (entry.isDirectory()) await linkTree(from, to);
        else await linkFile(from, to);
      }),
    );
  }
}

// Another file system, one without hard links, or a file with as many links as there can be.
const LINK_IMPOSSIBLE = new Set(["EXDEV", "EPERM", "EMLINK", "ENOTSUP"]);

async function linkFile(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    if (!LINK_IMPOSSIBLE.has((error as NodeJS.ErrnoException).code ?? "")) throw error;
    await copyFile(from, to, constants.COPYFILE_EXCL);
    const { atime, mtime } = await stat(from);
    // workerd makes ETags of it.
    await utimes(to, atime, mtime);
  }
  // The kernel has at hand what it has just linked: a tenth of what it takes to hand this to another thread.
  const { mode } = statSync(to);
  // The user of cells is nobody to whom the file belongs.
  if ((mode & 0o004) === 0) await chmod(to, (mode & 0o777) | 0o444);
}
