import { execFile } from "node:child_process";
import { open, rm, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const SOURCE = join(import.meta.dirname, "faulty-disk.c");
const COMPILER = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread"];
const ORDERS_BYTES = 4_096;

/** The errors that a disk gives, by their numbers in Linux. */
export const DISK_ERRORS = { EIO: 5, ENOSPC: 28 } as const;

/** The words of the shared memory, in their order; faulty-disk.c says what each does. */
const ORDERS = [
  "syncErrno",
  "writeErrno",
  "failIn",
  "tearIn",
  "cutIn",
  "syncLies",
  "seed",
  "faults",
  "lost",
  "boots",
  "failBelow",
  "syncMicros",
] as const;
type Order = (typeof ORDERS)[number];

/**
 * Puts a disk that fails on command between other processes and their files, by a library that is loaded
 * before theirs (LD_PRELOAD) and stands in for `write`, `pwrite`, `fsync` and their like.
 */
export class FaultyDisk {
  /** Environment of a process that is to have this disk. */
  readonly environment: Readonly<Record<string, string>>;
  readonly #orders: FileHandle;

  private constructor(orders: FileHandle, environment: Readonly<Record<string, string>>) {
    this.#orders = orders;
    this.environment = environment;
  }

  /**
   * On the disk is every file whose path has `files` in it; `directory` is for what belongs to the disk itself.
   * Compiles the library: rejected when there is no C compiler.
   */
  static async create(options: {
    readonly directory: string;
    readonly files: string;
  }): Promise<FaultyDisk> {
    const library = join(options.directory, "faulty-disk.so");
    await promisify(execFile)("cc", [...COMPILER, "-o", library, SOURCE]);
    const path = join(options.directory, "faulty-disk.orders");
    await rm(path, { force: true });
    const orders = await open(path, "w+");
    await orders.truncate(ORDERS_BYTES);
    return new FaultyDisk(orders, {
      LD_PRELOAD: library,
      ATOLL_FAULTS: path,
      ATOLL_FAULTY_FILES: options.files,
    });
  }

  async order(orders: Partial<Record<Order, number>>): Promise<void> {
    for (const [name, value] of Object.entries(orders)) {
      const word = Buffer.alloc(4);
      word.writeInt32LE(value);
      await this.#orders.write(word, 0, 4, ORDERS.indexOf(name as Order) * 4); // a key of `orders`
    }
  }

  async read(order: Order): Promise<number> {
    const word = Buffer.alloc(4);
    await this.#orders.read(word, 0, 4, ORDERS.indexOf(order) * 4);
    return word.readInt32LE();
  }

  /** No more faults or delays from now on, also none that were ordered. */
  heal(): Promise<void> {
    return this.order({
      syncErrno: 0,
      writeErrno: 0,
      failIn: 0,
      tearIn: 0,
      cutIn: 0,
      syncLies: 0,
      failBelow: 0,
      syncMicros: 0,
    });
  }

  close(): Promise<void> {
    return this.#orders.close();
  }
}
