import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
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
  const address = await server.run();
  return { server, port: address.port };
}
