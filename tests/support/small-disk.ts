import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** A disk of a test's own, in memory, that can be filled and made read-only. Only root may have one. */
export class SmallDisk {
  /** Where it is mounted. */
  readonly path: string;
  readonly #directory: string;

  static async mount(sizeMib: number): Promise<SmallDisk> {
    const directory = await mkdtemp(join(tmpdir(), "atoll-disk-"));
    const path = join(directory, "disk");
    await mkdir(path);
    await run("mount", ["-t", "tmpfs", "-o", `size=${sizeMib}m`, "tmpfs", path]);
    return new SmallDisk(directory, path);
  }

  /** Whether this machine lets a test have one. */
  static async isPossible(): Promise<boolean> {
    try {
      await (await SmallDisk.mount(1)).remove();
      return true;
    } catch {
      return false;
    }
  }

  private constructor(directory: string, path: string) {
    this.#directory = directory;
    this.path = path;
  }

  /** Leaves so little room that hardly a page fits. */
  async fill(): Promise<void> {
    const filler = join(this.path, "filler");
    await run("sh", ["-c", `dd if=/dev/zero of=${filler} bs=4k 2>/dev/null || true`]);
  }

  /** Takes away what filled it. */
  async clear(): Promise<void> {
    await rm(join(this.path, "filler"), { force: true });
  }

  /** Makes one folder of it read-only, as a disk is that has failed; `mend` makes it writable again. */
  async failFolder(name: string): Promise<void> {
    const folder = join(this.path, name);
    await run("mount", ["--bind", folder, folder]);
    await run("mount", ["-o", "remount,ro,bind", folder]);
  }

  async mendFolder(name: string): Promise<void> {
    await run("umount", [join(this.path, name)]);
  }

  async remove(): Promise<void> {
    // Lazily: what is mounted within it, and what a process still holds, goes with it.
    await run("umount", ["--lazy", this.path]);
    await rm(this.#directory, { recursive: true });
  }
}
