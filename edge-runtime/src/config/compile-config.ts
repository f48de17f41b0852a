import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { EdgeError } from "../errors.ts";
import { runProgram } from "../launcher/run-program.ts";
import { LIMITS } from "../limits.ts";
import type { ConfigCache } from "./config-cache.ts";
import type { GroupConfig } from "./group-config.ts";
import { Turnstile } from "./turnstile.ts";

export type ReadBlob = (hash: string) => Promise<Uint8Array>;

export interface ConfigCompilerOptions {
  readonly workerdPath: string;
  /**
   * Where sources lie while they are compiled: secrets in the clear among them, so let it be in memory
   * (`/dev/shm`) where the host has that. What an earlier run left there is removed.
   */
  readonly scratchDirectory: string;
  /** Absent: every config is compiled each time, as the preflight wants it. */
  readonly cache?: ConfigCache;
}

/** Turns the source of a config into what workerd reads, once per config. */
export class ConfigCompiler {
  readonly #options: ConfigCompilerOptions;
  readonly #turnstile = new Turnstile(LIMITS.configCompilesMax);
  readonly #running = new Map<string, Promise<Uint8Array>>();

  private constructor(options: ConfigCompilerOptions) {
    this.#options = options;
  }

  static async open(options: ConfigCompilerOptions): Promise<ConfigCompiler> {
    await rm(options.scratchDirectory, { recursive: true, force: true });
    await mkdir(options.scratchDirectory, { recursive: true, mode: 0o700 });
    return new ConfigCompiler(options);
  }

  /**
   * The binary config, from the cache when it was compiled before. Rejected with `config_invalid` when
   * workerd refuses the source, and with `readBlob`'s error when a file can't be had.
   */
  async compile(config: GroupConfig, readBlob: ReadBlob): Promise<Uint8Array> {
    const running = this.#running.get(config.hash);
    if (running !== undefined) return running;
    const result = this.#load(config, readBlob).finally(() => this.#running.delete(config.hash));
    this.#running.set(config.hash, result);
    return result;
  }

  /** Compiles a config ahead of need, unless the cache has it; rejected as `compile` is. */
  async prepare(config: GroupConfig, readBlob: ReadBlob): Promise<void> {
    if (await this.#options.cache?.has(config.hash)) return;
    await this.compile(config, readBlob);
  }

  /** Forgets the compiled form of every config but these. */
  async retain(hashes: Iterable<string>): Promise<void> {
    await this.#options.cache?.retain([...hashes, ...this.#running.keys()]);
  }

  async #load(config: GroupConfig, readBlob: ReadBlob): Promise<Uint8Array> {
    const cached = await this.#options.cache?.get(config.hash);
    if (cached !== undefined) return cached;
    return this.#turnstile.run(async () => {
      const compiled = await this.#compile(config, readBlob);
      await this.#options.cache?.put(config.hash, compiled);
      return compiled;
    });
  }

  async #compile(config: GroupConfig, readBlob: ReadBlob): Promise<Uint8Array> {
    const directory = await mkdtemp(join(this.#options.scratchDirectory, "compile-"));
    try {
      for (const { file, blob } of config.files) {
        await writeFile(join(directory, file), await readBlob(blob), { mode: 0o600 });
      }
      await writeFile(join(directory, "cell.capnp"), config.text, { mode: 0o600 });
      return await this.#runCompiler(directory);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }

  async #runCompiler(directory: string): Promise<Uint8Array> {
    const file = this.#options.workerdPath;
    const args = ["compile", "--config-only", "cell.capnp"];
    try {
      return await runProgram({ file, args, directory, environment: {} }, BOUNDS);
    } catch (cause) {
      // What the compiler said: positions and rules.
      throw new EdgeError("config_invalid", "workerd did not compile a cell's config", { cause });
    }
  }
}

const BOUNDS = {
  timeMs: LIMITS.configCompileMs,
  outputBytesMax: LIMITS.configBytesMax,
  errorBytesMax: LIMITS.cellOutputTailBytes,
} as const;
