import { createHash, randomUUID } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import S3rver from "s3rver";

export const S3_BUCKET = "atoll-test";
// Those that s3rver knows.
export const S3_CREDENTIALS = { accessKeyId: "S3RVER", secretAccessKey: "S3RVER" };

/** A server of S3 in this process, with one bucket in a directory of its own. */
export class S3Server {
  readonly directory: string;
  #server: S3rver;
  #port: number;

  static async start(): Promise<S3Server> {
    const directory = await mkdtemp(join(tmpdir(), "atoll-s3-"));
    const { server, port } = await listen(directory, 0);
    return new S3Server({ directory, server, port });
  }

  private constructor(parts: {
    readonly directory: string;
    readonly server: S3rver;
    readonly port: number;
  }) {
    this.directory = parts.directory;
    this.#server = parts.server;
    this.#port = parts.port;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Where an object is. */
  pathOf(key: string): string {
    return join(this.directory, S3_BUCKET, `${key}._S3rver_object`);
  }

  /** The objects below a folder, by their names in it. */
  async objects(folder: string): Promise<ReadonlyMap<string, Buffer>> {
    const directory = join(this.directory, S3_BUCKET, folder);
    const objects = new Map<string, Buffer>();
    for (const file of await readdir(directory)) {
      const name = file.replace(/\._S3rver_object$/, "");
      if (name !== file) objects.set(name, await readFile(join(directory, file)));
    }
    return objects;
  }

  async removeBucket(): Promise<void> {
    await rm(join(this.directory, S3_BUCKET), { recursive: true });
  }

  async makeBucket(): Promise<void> {
    await mkdir(join(this.directory, S3_BUCKET));
  }

  /** Nobody listens from then on. */
  async stop(): Promise<void> {
    await this.#server.close();
  }

  /** Listens again, on the same port and directory. */
  async restart(): Promise<void> {
    const { server } = await listen(this.directory, this.#port);
    this.#server = server;
  }

  async remove(): Promise<void> {
    await this.stop();
    await rm(this.directory, { recursive: true, force: true });
  }
}

async function listen(
  directory: string,
  port: number,
): Promise<{ readonly server: S3rver; readonly port: number }> {
  const server = new S3rver({
    address: "127.0.0.1",
    port,
    silent: true,
    directory,
    configureBuckets: [{ name: S3_BUCKET, configs: [] }],
  });
  answerWhenWritten(storeOf(server));
  const address = await server.run();
  return { server, port: address.port };
}

/** The part of the server's store that we replace, and what it is made with. */
interface ObjectStore {
  putObject(object: SentObject): Promise<{ readonly size: number; readonly md5: string }>;
  putMetadata(bucket: string, key: string, metadata: unknown, md5: string): Promise<void>;
  getResourcePath(bucket: string, key: string, resource: "object"): string;
}

interface SentObject {
  readonly bucket: string;
  readonly key: string;
  readonly content: Readable;
  readonly metadata: unknown;
}

/** Its types do not tell of it. */
function storeOf(server: S3rver): ObjectStore {
  return (server as unknown as { readonly store: ObjectStore }).store;
}

/**
 * By itself the server answers when it has read an object, which it may not have begun to write: who asks for it at
 * once finds nothing, or a part. A bucket has an object, whole, when it says so.
 */
function answerWhenWritten(store: ObjectStore): void {
  store.putObject = async ({ bucket, key, content, metadata }) => {
    const whole = await buffer(content);
    const md5 = createHash("md5").update(whole).digest("hex");
    const path = store.getResourcePath(bucket, key, "object");
    await mkdir(dirname(path), { recursive: true });
    await store.putMetadata(bucket, key, metadata, md5);
    const partial = join(dirname(path), randomUUID());
    await writeFile(partial, whole);
    await rename(partial, path);
    return { size: whole.length, md5 };
  };
}
