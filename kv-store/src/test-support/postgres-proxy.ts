import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const SOCKET = ".s.PGSQL.5432";
const COMMIT = Buffer.from("COMMIT\0");

interface Link {
  readonly client: Socket;
  readonly server: Socket;
  /** The database has been told to commit, and nobody hears what it says. */
  isDeaf: boolean;
}

/** A socket in front of a PostgreSQL server's, on which a network fails as a test wants. */
export class PostgresProxy {
  /** Where its socket is: what `PostgresServer.url` is given. */
  readonly directory: string;
  readonly #target: string;
  readonly #listener: Server;
  readonly #links = new Set<Link>();
  #losesCommits = false;
  #isSilent = false;

  static async open(serverDirectory: string): Promise<PostgresProxy> {
    const proxy = new PostgresProxy(
      await mkdtemp(join(tmpdir(), "atoll-pg-proxy-")),
      join(serverDirectory, SOCKET),
    );
    await new Promise<void>((resolve) =>
      proxy.#listener.listen(join(proxy.directory, SOCKET), resolve),
    );
    return proxy;
  }

  private constructor(directory: string, target: string) {
    this.directory = directory;
    this.#target = target;
    this.#listener = createServer((client) => this.#accept(client));
  }

  /** Ends all connections. New ones are served. */
  cut(): void {
    for (const { client, server } of this.#links) {
      client.destroy();
      server.destroy();
    }
  }

  /** From now on the database hears that it is to commit, and the connection ends instead of its answer. */
  loseCommits(): void {
    this.#losesCommits = true;
  }

  /** From now on nothing arrives on either side, and no connection ends. */
  fallSilent(): void {
    this.#isSilent = true;
  }

  /** Everything arrives again; what was on its way when it fell silent does not. */
  recover(): void {
    this.#losesCommits = false;
    this.#isSilent = false;
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise<unknown>((resolve) => this.#listener.close(resolve));
    await rm(this.directory, { recursive: true });
  }

  #accept(client: Socket): void {
    const link: Link = { client, server: connect(this.#target), isDeaf: false };
    const { server } = link;
    this.#links.add(link);
    client.on("data", (bytes) => {
      if (this.#isSilent) return;
      if (this.#losesCommits && bytes.includes(COMMIT)) link.isDeaf = true;
      server.write(bytes);
    });
    server.on("data", (bytes) => {
      // Not before it has said that it is committed: a server that can't answer may undo it.
      if (link.isDeaf && bytes.includes(COMMIT)) this.#end(link);
      else if (link.isDeaf) return;
      else if (!this.#isSilent) client.write(bytes);
    });
    for (const socket of [client, server]) {
      socket.on("error", () => {}); // `close` follows
      socket.on("close", () => this.#end(link));
    }
  }

  #end(link: Link): void {
    link.client.destroy();
    link.server.destroy();
    this.#links.delete(link);
  }
}
