import { createHash, randomBytes, randomUUID } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import { link, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { replaceDurably, sync, writeNew } from "../durable-path.ts";
import { LIMITS } from "../limits.ts";
import { OperatorError } from "../operator-error.ts";

const KEY_BYTES = 32;
/** Of the bytes that name a master key in what it sealed. */
export const KEY_ID_BYTES = 8;

/** Name of the file of master keys in a control plane's data directory. */
export const MASTER_KEY_FILE = "master.key";

export interface MasterKey {
  /** Hexadecimal; tells nothing of the key. */
  readonly id: string;
  readonly bytes: Uint8Array;
}

/** Where master keys come from: the variable when it is set, else the file, which a first start makes. */
export interface MasterKeySource {
  readonly file: string;
  /** `ATOLL_MASTER_KEY`: keys of 64 hexadecimal digits, separated by commas, the current one first. */
  readonly fromEnvironment: string | undefined;
}

/**
 * The keys under which everything is sealed, the current one first. Another process may change the file, so it
 * is read again whenever that has happened. Several control planes over one database need the same keys.
 */
export class MasterKeys {
  readonly #file: string | undefined;
  #keys: ReadonlyArray<MasterKey>;
  /** What the file looked like when it was read. */
  #stamp: string;

  /** Rejected when what the source holds is malformed. */
  static async load(source: MasterKeySource): Promise<MasterKeys> {
    const { file, fromEnvironment } = source;
    if (fromEnvironment !== undefined) {
      return new MasterKeys(parseKeys(fromEnvironment, ",", "ATOLL_MASTER_KEY"));
    }
    await makeOnce(file);
    const stamp = stampOf(file);
    return new MasterKeys(readKeys(file), { file, stamp });
  }

  /** Keys that never change, as tests want them. */
  static of(...keys: ReadonlyArray<Uint8Array>): MasterKeys {
    return new MasterKeys(keys.map(toMasterKey));
  }

  private constructor(
    keys: ReadonlyArray<MasterKey>,
    read: { readonly file?: string; readonly stamp: string } = { stamp: "" },
  ) {
    this.#keys = keys;
    this.#file = read.file;
    this.#stamp = read.stamp;
  }

  /** The one that seals. Throws when the file has been made unreadable. */
  get current(): MasterKey {
    const [current] = this.all;
    if (current === undefined) throw new Error("there is no master key");
    return current;
  }

  get all(): ReadonlyArray<MasterKey> {
    if (this.#file === undefined) return this.#keys;
    const stamp = stampOf(this.#file);
    if (stamp === this.#stamp) return this.#keys;
    this.#keys = readKeys(this.#file);
    this.#stamp = stamp;
    return this.#keys;
  }

  find(id: string): MasterKey | undefined {
    return this.all.find((key) => key.id === id);
  }

  /** Makes a new current key. Resolves when it is on disk. Only for keys of a file. */
  async addKey(): Promise<void> {
    await this.#write([toMasterKey(randomBytes(KEY_BYTES)), ...this.all]);
  }

  /** Drops all but these. Resolves when it is on disk. Only for keys of a file. */
  async keepOnly(ids: ReadonlyArray<string>): Promise<void> {
    const kept = this.all.filter(({ id }) => ids.includes(id));
    if (kept.length === this.all.length) return;
    await this.#write(kept);
  }

  /** Whether they are in a file, which a rotation can change. */
  get isFile(): boolean {
    return this.#file !== undefined;
  }

  async #write(keys: ReadonlyArray<MasterKey>): Promise<void> {
    if (this.#file === undefined) throw new Error("keys of the environment are not ours to change");
    await replaceDurably(this.#file, formatKeys(keys));
  }
}

/**
 * Makes the file when there is none, and never replaces one: everything is sealed with what it holds. It
 * appears whole, also to another first start, and after this one was killed.
 */
async function makeOnce(file: string): Promise<void> {
  if (existsSync(file)) return;
  const temporary = `${file}.${randomUUID()}`;
  await writeNew(temporary, formatKeys([toMasterKey(randomBytes(KEY_BYTES))]));
  try {
    await link(temporary, file);
    await sync(dirname(file));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Differs after each replacement: a rename brings another inode. */
function stampOf(file: string): string {
  const { ino, mtimeNs, size } = statSync(file, { bigint: true });
  return `${ino} ${mtimeNs} ${size}`;
}

function readKeys(file: string): ReadonlyArray<MasterKey> {
  return parseKeys(readFileSync(file, "utf8").trimEnd(), "\n", file);
}

function formatKeys(keys: ReadonlyArray<MasterKey>): string {
  return keys.map(({ bytes }) => `${Buffer.from(bytes).toString("hex")}\n`).join("");
}

function parseKeys(text: string, separator: string, source: string): ReadonlyArray<MasterKey> {
  const texts = text.split(separator).map((part) => part.trim());
  if (texts.length > LIMITS.masterKeysMax) {
    throw new OperatorError(
      `${source} holds ${texts.length} master keys, over ${LIMITS.masterKeysMax}`,
    );
  }
  return texts.map((part) => {
    if (/^[0-9a-fA-F]{64}$/.test(part)) return toMasterKey(Buffer.from(part, "hex"));
    throw new OperatorError(
      `${source} does not hold a master key: it must be 64 hexadecimal digits`,
    );
  });
}

function toMasterKey(bytes: Uint8Array): MasterKey {
  const digest = createHash("sha256").update("atoll master key id\n").update(bytes).digest("hex");
  return { id: digest.slice(0, 2 * KEY_ID_BYTES), bytes };
}
