import { randomBytes, randomUUID } from "node:crypto";
import { join } from "node:path";
import { createControlPlane, type ControlPlane } from "@atoll/control-plane";
import { SqliteOrigin, systemClock, type ManagedOrigin } from "@atoll/kv-store";
import { PostgresOrigin } from "@atoll/kv-store/postgres";
import { PostgresServer } from "@atoll/kv-store/test-support/postgres-server";
import { pino } from "pino";
import { hold } from "./benchmark.ts";
import { log as kvLog, temporaryDirectory } from "./kv-place.ts";

export const ACCOUNTS = 1_000;
export const WORKERS_PER_ACCOUNT = 10;
export const VERSIONS_PER_WORKER = 10;
const DEPLOYMENTS_PER_WORKER = 10;
const AUDIT_ROWS_PER_ACCOUNT = 50;
const USAGE_HOURS = 6;
// Rows of one statement: its parameters stay below what SQLite takes.
const ROWS_PER_STATEMENT = 500;

export const ENGINES = ["SQLite", "PostgreSQL"] as const;
export type Engine = (typeof ENGINES)[number];

/** Somebody whose account has workers `<prefix>-0`, `<prefix>-1` and so on. */
export interface Tenant {
  readonly account: string;
  readonly token: string;
  readonly prefix: string;
  /** The version that serves of each worker. */
  readonly versions: ReadonlyArray<string>;
}

export interface FullControlPlane {
  readonly controlPlane: ControlPlane;
  readonly url: string;
  readonly tenants: ReadonlyArray<Tenant>;
}

/** A control plane, with a check of workers that takes no time, whose database is full. */
export async function startFullControlPlane(
  resources: AsyncDisposableStack,
  engine: Engine,
): Promise<FullControlPlane> {
  const dataDirectory = await temporaryDirectory(resources);
  const databaseUrl = engine === "SQLite" ? undefined : await startPostgres(resources);
  const kvOrigin = await openOrigin(resources, { dataDirectory, databaseUrl });
  const controlPlane = await hold(
    resources,
    () =>
      createControlPlane({
        dataDirectory,
        databaseUrl,
        host: "127.0.0.1",
        port: 0,
        baseDomain: "localhost",
        publicIngressPort: 4401,
        ownershipRule: "none",
        environmentFile: "wrangler.env",
        masterKey: undefined,
        preflight: {
          newestCompatibilityDate: "2026-11-17",
          check: () => Promise.resolve({ kind: "started", startupMs: 1 }),
        },
        kvOrigin,
        log: pino({ level: "error" }),
        clock: systemClock,
      }),
    (started) => started.close(),
  );
  return { url: controlPlane.url, controlPlane, tenants: await fill(controlPlane) };
}

async function startPostgres(resources: AsyncDisposableStack): Promise<string> {
  const server = await hold(
    resources,
    () => PostgresServer.start(),
    (started) => started.remove(),
  );
  return server.url(await server.createDatabase());
}

function openOrigin(
  resources: AsyncDisposableStack,
  place: { readonly dataDirectory: string; readonly databaseUrl: string | undefined },
): Promise<ManagedOrigin> {
  const { dataDirectory, databaseUrl: url } = place;
  const shared = { clock: systemClock, log: kvLog };
  return hold<ManagedOrigin>(
    resources,
    async () =>
      url === undefined
        ? SqliteOrigin.open({ path: join(dataDirectory, "kv.sqlite"), ...shared })
        : PostgresOrigin.open({ url, ...shared }),
    (origin) => origin.close(),
  );
}

/** Makes tenants, each with copies of one worker that was uploaded as wrangler does it. */
async function fill(controlPlane: ControlPlane): Promise<ReadonlyArray<Tenant>> {
  const tenants: Tenant[] = [];
  const rows = new RowQueue(controlPlane.database);
  const template = await uploadTemplate(controlPlane);
  for (let index = 0; index < ACCOUNTS; index += 1) {
    const { account, token } = await controlPlane.accounts.create(`Account ${index}`);
    const prefix = `tenant-${index}`;
    const versions: string[] = [];
    for (let number = 0; number < WORKERS_PER_ACCOUNT; number += 1) {
      const name = `${prefix}-${number}`;
      versions.push(await rows.addWorker({ account: account.id, name, template }));
    }
    await rows.addTrail(account.id, prefix);
    tenants.push({ account: account.id, token, prefix, versions });
  }
  await rows.flush();
  return tenants;
}

type Tables = "workers" | "versions" | "deployments" | "routes" | "schedules" | "audit" | "usage";

interface Template {
  readonly document: Readonly<Record<string, unknown>>;
  readonly notes: string;
}

async function uploadTemplate({ accounts, database, url }: ControlPlane): Promise<Template> {
  const { account, token } = await accounts.create("Template");
  const form = uploadForm("template");
  const response = await fetch(`${url}/client/v4/accounts/${account.id}/workers/scripts/template`, {
    method: "PUT",
    headers: { authorization: `Bearer ${token}` },
    body: form,
  });
  if (!response.ok) throw new Error(await response.text());
  const { document, notes } = await database
    .selectFrom("versions")
    .select(["document", "notes"])
    .executeTakeFirstOrThrow();
  return { document: JSON.parse(document) as Template["document"], notes };
}

/** An upload as wrangler makes it, of a worker that answers with a text. */
export function uploadForm(text: string): FormData {
  const form = new FormData();
  const bindings = Array.from({ length: 10 }, (_, index) => ({
    type: "plain_text",
    name: `SETTING_${index}`,
    text: `value ${index}`,
  }));
  const metadata = { main_module: "index.js", compatibility_date: "2026-06-01", bindings };
  form.set("metadata", JSON.stringify(metadata));
  const source = `export default { fetch: () => new Response(${JSON.stringify(text)}) };`;
  const type = "application/javascript+module";
  form.append("index.js", new File([source], "index.js", { type }));
  return form;
}

/** Rows on their way to the database, many at a time. */
class RowQueue {
  readonly #database: ControlPlane["database"];
  readonly #rows = new Map<Tables, Array<Record<string, unknown>>>();
  readonly #startedAt = new Date().toISOString();

  constructor(database: ControlPlane["database"]) {
    this.#database = database;
  }

  /** Resolves with the id of the version that serves. */
  async addWorker(worker: {
    readonly account: string;
    readonly name: string;
    readonly template: Template;
  }): Promise<string> {
    const { account, name, template } = worker;
    const id = randomBytes(16).toString("hex");
    const at = this.#startedAt;
    await this.#add("workers", {
      ...{ id, account_id: account, name, created_at: at, modified_at: at },
      ...{ is_on_subdomain: 1, has_previews: 0, settings: "{}" },
      version_number: VERSIONS_PER_WORKER,
    });
    const versions = Array.from({ length: VERSIONS_PER_WORKER }, () => randomUUID());
    for (const [index, version] of versions.entries()) {
      const number = index + 1;
      const document = JSON.stringify({ ...template.document, id: version, number, createdAt: at });
      const row = { id: version, worker_id: id, number, created_at: at, document };
      await this.#add("versions", { ...row, notes: template.notes });
    }
    for (let number = 1; number <= DEPLOYMENTS_PER_WORKER; number += 1) {
      const serving = [{ version_id: versions[number - 1], percentage: 100 }];
      const row = { id: randomUUID(), worker_id: id, number, created_at: at, annotations: "{}" };
      await this.#add("deployments", { ...row, versions: JSON.stringify(serving) });
    }
    const pattern = `${name}.example.com/*`;
    const route = { id: randomUUID(), account_id: account, worker_id: id, pattern, created_at: at };
    const host_key = `com.example.${name}`;
    await this.#add("routes", { ...route, host_key, kind: "route" });
    const cron = { id: randomUUID(), worker_id: id, cron: "0 3 * * *", created_at: at };
    await this.#add("schedules", { ...cron, next_at: "9999" });
    await this.#addUsage(account, name, versions.at(-1) ?? "");
    return versions.at(-1) ?? "";
  }

  async addTrail(account: string, prefix: string): Promise<void> {
    for (let sequence = 1; sequence <= AUDIT_ROWS_PER_ACCOUNT; sequence += 1) {
      await this.#add("audit", {
        ...{ id: randomUUID(), at: this.#startedAt, account_id: account, token_id: "filler" },
        ...{ address: "127.0.0.1", action: "version.create", subject: `${prefix}-0` },
        // Behind those of the account's own making, whose numbers begin with 1.
        ...{ before: null, after: '{"number":1}', sequence: 1_000_000 + sequence },
      });
    }
  }

  /** Writes what is left. References come after what they refer to. */
  async flush(): Promise<void> {
    for (const table of this.#rows.keys()) await this.#write(table);
  }

  async #addUsage(account: string, worker: string, version: string): Promise<void> {
    for (let hour = 0; hour < USAGE_HOURS; hour += 1) {
      const counts = { requests: 100, errors: 0, wall_ms: 500, bytes_in: 1, bytes_out: 1 };
      await this.#add("usage", {
        ...{ account_id: account, worker, version_id: version, node: "fra" },
        hour: new Date(Math.floor(Date.now() / 3_600_000 - hour) * 3_600_000).toISOString(),
        ...{ ...counts, cpu_us: 5_000, subrequests: 0, subrequest_bytes_out: 0 },
        ...{ subrequest_bytes_in: 0, kv_reads: 0, kv_writes: 0, kv_deletes: 0, kv_lists: 0 },
        memory_peak_bytes: 1,
      });
    }
  }

  async #add(table: Tables, row: Record<string, unknown>): Promise<void> {
    const rows = this.#rows.get(table) ?? [];
    this.#rows.set(table, rows);
    rows.push(row);
    if (rows.length >= ROWS_PER_STATEMENT) await this.flush();
  }

  async #write(table: Tables): Promise<void> {
    const rows = this.#rows.get(table)?.splice(0) ?? [];
    if (rows.length > 0) await this.#database.insertInto(table).values(rows).execute();
  }
}
