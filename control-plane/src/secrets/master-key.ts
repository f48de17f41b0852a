import { randomBytes } from "node:crypto";
import { open, readFile } from "node:fs/promises";

const KEY_BYTES = 32;

/**
 * The key that seals every secret: `fromEnvironment` (`ATOLL_MASTER_KEY`, 64 hexadecimal digits) when
 * it is set, else the content of `file`, which is made on first start and readable by its owner only.
 * Several control planes over one database need the same key. Rejected when either is malformed.
 */
export async function loadMasterKey(options: {
  readonly file: string;
  readonly fromEnvironment: string | undefined;
}): Promise<Uint8Array> {
  if (options.fromEnvironment !== undefined) {
    return parseKey(options.fromEnvironment, "ATOLL_MASTER_KEY");
  }
  const existing = await readFile(options.file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (existing !== undefined) return parseKey(existing.trim(), options.file);
  const key = randomBytes(KEY_BYTES);
  await writeOnce(options.file, `${key.toString("hex")}\n`);
  return key;
}

/** Fails when the file exists: a key must never be replaced, because everything is sealed with it. */
async function writeOnce(path: string, content: string): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

function parseKey(text: string, source: string): Uint8Array {
  if (!/^[0-9a-fA-F]{64}$/.test(text)) {
    throw new Error(`${source} does not hold a master key: it must be 64 hexadecimal digits`);
  }
  return Buffer.from(text, "hex");
}
