import { open, type FileHandle } from "node:fs/promises";

/**
 * Folders whose names are brought to the disk. Each stays open while anybody is at work: an upload of thousands of
 * files syncs every folder dozens of times, and to open and close one takes longer than to sync it again.
 */
export class SyncedFolders {
  readonly #open = new Map<string, Promise<FileHandle>>();
  #workers = 0;

  /** Ends as the work does. What was opened is closed once nobody is at work any more. */
  async during<Result>(work: () => Promise<Result>): Promise<Result> {
    this.#workers += 1;
    try {
      return await work();
    } finally {
      this.#workers -= 1;
      if (this.#workers === 0) await this.#closeAll();
    }
  }

  /** Resolves when the folder's names are on disk. For work that is under way. */
  async sync(folder: string): Promise<void> {
    const opened = this.#open.get(folder) ?? open(folder, "r");
    this.#open.set(folder, opened);
    try {
      await (await opened).sync();
    } catch (error) {
      // A disk tells of a fault once by each handle: the next attempt must not take this one's silence for success.
      if (this.#open.get(folder) === opened) this.#open.delete(folder);
      await close(opened);
      throw error;
    }
  }

  async #closeAll(): Promise<void> {
    const all = [...this.#open.values()];
    this.#open.clear();
    await Promise.all(all.map(close));
  }
}

async function close(opened: Promise<FileHandle>): Promise<void> {
  // One that could not be opened has told so.
  const handle = await opened.catch(() => undefined);
  await handle?.close();
}
