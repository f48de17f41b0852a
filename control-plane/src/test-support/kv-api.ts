import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { SqliteOrigin, type Clock, type KvOrigin } from "@atoll/kv-store";
import { pino } from "pino";
import { AccountsService } from "../accounts/service.ts";
import { DirectoryBlobStore } from "../blobs/directory-blob-store.ts";
import { openSqliteDatabase, type Database } from "../database/database.ts";
import { Mutations } from "../desired-state/mutations.ts";
import { createApi } from "../http/api.ts";
import type { Principal } from "../http/request-context.ts";
import { HttpServer } from "../http/server.ts";
import { EntriesService } from "../kv-namespaces/entries-service.ts";
import { createKvNamespaceRoutes } from "../kv-namespaces/routes.ts";
import { NamespacesService } from "../kv-namespaces/service.ts";

/** Time that a test turns on by hand. */
interface TestClock extends Clock {
  advanceSeconds(seconds: number): void;
}

/** The key-value API over real sockets, files and databases, for two accounts. */
export interface KvApi {
  readonly database: Database;
  readonly origin: KvOrigin;
  readonly mutations: Mutations;
  readonly clock: TestClock;
  readonly principals: Readonly<Record<Tenant, Principal>>;
  /** Calls the API; `path` follows `/accounts/<id>/storage/kv/namespaces` of the tenant. */
  call(path: string, init?: RequestInit, tenant?: Tenant): Promise<Response>;
  /** Removes the content of all large values behind the API's back; returns the hashes. */
  loseBlobs(): Promise<ReadonlyArray<string>>;
  close(): Promise<void>;
}

export type Tenant = "ours" | "theirs";

export async function startKvApi(): Promise<KvApi> {
  const directory = await mkdtemp(join(tmpdir(), "atoll-kv-api-"));
  const log = pino({ level: "silent" });
  const clock = createClock();
  const database = await openSqliteDatabase(join(directory, "control-plane.sqlite"));
  const origin = SqliteOrigin.open({ path: join(directory, "kv.sqlite"), clock, log });
  const blobs = new DirectoryBlobStore(join(directory, "blobs"));
  const accounts = new AccountsService({ database, clock });
  const mutations = new Mutations({ database, clock });
  const http = await HttpServer.listen({ host: "127.0.0.1", port: 0, log });
  http.mount(
    "/client/v4",
    createApi({
      verifyToken: (token) => accounts.verifyToken(token),
      selfAuthenticated: [],
      resources: [
        createKvNamespaceRoutes({
          namespaces: new NamespacesService({ database, mutations, origin }),
          entries: new EntriesService({ origin, blobs }),
          clock,
        }),
      ],
    }),
  );
  const tenants = { ours: await accounts.create("Ours"), theirs: await accounts.create("Theirs") };
  return {
    database,
    origin,
    mutations,
    clock,
    principals: {
      ours: { account: tenants.ours.account.id, tokenId: "test" },
      theirs: { account: tenants.theirs.account.id, tokenId: "test" },
    },
    call: (path, init = {}, tenant = "ours") => {
      const { account, token } = tenants[tenant];
      const headers = new Headers(init.headers);
      headers.set("authorization", `Bearer ${token}`);
      const base = `${http.url}/client/v4/accounts/${account.id}/storage/kv/namespaces`;
      return fetch(`${base}${path}`, { ...init, headers });
    },
    loseBlobs: async () => {
      const files = await readdir(join(directory, "blobs"), { recursive: true });
      await rm(join(directory, "blobs"), { recursive: true });
      return files.filter((file) => file.includes("/")).map((file) => basename(file));
    },
    close: async () => {
      await http.close();
      await origin.close();
      await database.destroy();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function createClock(): TestClock {
  let nowMs = 1_800_000_000_000;
  return {
    nowMs: () => nowMs,
    every: () => () => {},
    advanceSeconds: (seconds) => {
      nowMs += seconds * 1_000;
    },
  };
}
