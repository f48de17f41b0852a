import { createCipheriv, createDecipheriv, createHmac, randomBytes } from "node:crypto";
import { access, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "pino";

const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const SUFFIX = ".config";

export interface ConfigCacheOptions {
  /** Only this cache writes here. */
  readonly directory: string;
  /** 32 bytes that live elsewhere than the directory; another key makes the cache start empty. */
  readonly key: Uint8Array;
  readonly log: Logger;
}

/**
 * Compiled configs on disk, by the hash of their source. A config holds its workers' secrets, so a
 * file is nonce | tag | AES-256-GCM ciphertext bound to its name, and the name is keyed too: from the
 * plain hash of a config that is known but for a short secret, that secret could be guessed.
 * It is a cache: what can't be read, was cut or changed counts as absent, and nothing is synced to disk.
 */
export class ConfigCache {
  readonly #directory: string;
  readonly #key: Uint8Array;
  readonly #log: Logger;

  private constructor(options: ConfigCacheOptions) {
    this.#directory = options.directory;
    this.#key = options.key;
    this.#log = options.log;
  }

  /** Makes the directory when it is not there. */
  static async open(options: ConfigCacheOptions): Promise<ConfigCache> {
    if (options.key.length !== KEY_BYTES) {
      throw new TypeError(
        `the key of a config cache has ${KEY_BYTES} bytes, not ${options.key.length}`,
      );
    }
    await mkdir(options.directory, { recursive: true, mode: 0o700 });
    return new ConfigCache(options);
  }

  /** Whether there is a file for it, which `get` may still find damaged. */
  async has(hash: string): Promise<boolean> {
    try {
      await access(join(this.#directory, this.#fileName(hash)));
      return true;
    } catch {
      // Whatever keeps it from being read, it is absent for `get`, too.
      return false;
    }
  }

  async get(hash: string): Promise<Uint8Array | undefined> {
    const name = this.#fileName(hash);
    try {
      return this.#unseal(await readFile(join(this.#directory, name)), name);
    } catch {
      // Absent, cut, changed or sealed with an older key: in each case the caller compiles it again.
      return undefined;
    }
  }

  /** Keeps a config, if it can: where the disk is full, a node starts what it has all the same. */
  async put(hash: string, config: Uint8Array): Promise<void> {
    try {
      await this.#write(hash, config);
    } catch (error) {
      this.#log.warn({ err: error }, "a compiled config can't be kept, and is compiled each time");
    }
  }

  async #write(hash: string, config: Uint8Array): Promise<void> {
    const name = this.#fileName(hash);
    const temporary = join(this.#directory, `${name}.${randomBytes(6).toString("hex")}.tmp`);
    try {
      await writeFile(temporary, this.#seal(config, name), { mode: 0o600, flag: "wx" });
      await rename(temporary, join(this.#directory, name));
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }

  /** Removes every config but those of these hashes, and what an interrupted write left, if it can. */
  async retain(hashes: Iterable<string>): Promise<void> {
    const kept = new Set([...hashes].map((hash) => this.#fileName(hash)));
    try {
      const files = await readdir(this.#directory);
      const unused = files.filter((file) => !kept.has(file));
      await Promise.all(unused.map((file) => rm(join(this.#directory, file), { force: true })));
    } catch (error) {
      // Leftovers cost space, not correctness.
      this.#log.warn({ err: error }, "could not remove compiled configs that nobody needs");
    }
  }

  #fileName(hash: string): string {
    return createHmac("sha256", this.#key).update(hash).digest("hex") + SUFFIX;
  }

  #seal(config: Uint8Array, name: string): Buffer {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv("aes-256-gcm", this.#key, nonce).setAAD(Buffer.from(name));
    const ciphertext = [cipher.update(config), cipher.final()];
    return Buffer.concat([nonce, cipher.getAuthTag(), ...ciphertext]);
  }

  #unseal(file: Buffer, name: string): Uint8Array {
    const nonce = file.subarray(0, NONCE_BYTES);
    const tag = file.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES);
    const decipher = createDecipheriv("aes-256-gcm", this.#key, nonce, { authTagLength: TAG_BYTES })
      .setAAD(Buffer.from(name))
      .setAuthTag(tag);
    return Buffer.concat([
      decipher.update(file.subarray(NONCE_BYTES + TAG_BYTES)),
      decipher.final(),
    ]);
  }
}
