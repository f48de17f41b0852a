import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SqliteOrigin } from "@atoll/kv-store";
import { pino } from "pino";
import type { Bootstrap } from "../accounts/schemas.ts";
import type { BlobArea, BlobStore } from "../blobs/blob-store.ts";
import { createControlPlane, type ControlPlane } from "../control-plane.ts";
import type { RequestRates } from "../http/rate-limits.ts";
import type { Principal } from "../http/request-context.ts";
import type { OwnershipRule } from "../ownership/schemas.ts";
import { createRunDatabase } from "./postgres-run.ts";
import { ScriptedPreflight } from "./scripted-preflight.ts";
import { TestClock } from "./test-clock.ts";

export type Tenant = "ours" | "theirs";

/** An answer of the API with its envelope read. */
export interface Answer {
  readonly status: number;
  readonly success: boolean;
  // Tests look into results of every shape.
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly result: any;
  readonly errors: ReadonlyArray<{ readonly code: number; readonly message: string }>;
  /** Of lists. */
  readonly result_info?: unknown;
}

export async function answerOf(response: Response): Promise<Answer> {
  return { status: response.status, ...((await response.json()) as Omit<Answer, "status">) };
}

export interface UploadedFileSpec {
  readonly name: string;
  readonly type: string;
  readonly content: string | Uint8Array<ArrayBuffer>;
}

/** A whole control plane over real sockets and files, with two accounts. */
export class ControlPlaneApi {
  readonly directory: string;
  readonly controlPlane: ControlPlane;
  readonly preflight: ScriptedPreflight;
  readonly clock: TestClock;
  readonly tenants: Readonly<Record<Tenant, Bootstrap>>;
  readonly origin: SqliteOrigin;
  readonly databaseUrl: string | undefined;

  private constructor(parts: {
    readonly directory: string;
    readonly controlPlane: ControlPlane;
    readonly preflight: ScriptedPreflight;
    readonly clock: TestClock;
    readonly tenants: Readonly<Record<Tenant, Bootstrap>>;
    readonly origin: SqliteOrigin;
    readonly databaseUrl: string | undefined;
  }) {
    this.directory = parts.directory;
    this.controlPlane = parts.controlPlane;
    this.preflight = parts.preflight;
    this.clock = parts.clock;
    this.tenants = parts.tenants;
    this.origin = parts.origin;
    this.databaseUrl = parts.databaseUrl;
  }

  /**
   * Tests with nodes that never acknowledge should not wait for them. In the run of all tests on PostgreSQL
   * each has a database there, whatever it says.
   */
  static async start(options: StartOptions = {}): Promise<ControlPlaneApi> {
    const directory = await mkdtemp(join(tmpdir(), "atoll-control-plane-"));
    const clock = options.clock ?? new TestClock();
    const preflight = new ScriptedPreflight();
    const parts = { directory, clock, preflight };
    const databaseUrl = options.databaseUrl ?? (await createRunDatabase());
    const { controlPlane, origin } = await open({ ...parts, ...options, databaseUrl });
    const { accounts } = controlPlane;
    const tenants = {
      ours: await accounts.create("Ours"),
      theirs: await accounts.create("Theirs"),
    };
    return new ControlPlaneApi({ ...parts, databaseUrl, controlPlane, tenants, origin });
  }

  /** Another control plane with the same accounts, over a directory that it takes over and removes. */
  async reopen(directory: string): Promise<ControlPlaneApi> {
    const { clock, preflight, tenants, databaseUrl } = this;
    const parts = { directory, clock, preflight, databaseUrl };
    return new ControlPlaneApi({ ...parts, ...(await open(parts)), tenants });
  }

  /** Another control plane on the same database, with the same blobs and master key. It is closed by itself. */
  async startAnother(options: StartOptions = {}): Promise<ControlPlaneApi> {
    const { directory, clock, preflight, tenants, databaseUrl, origin } = this;
    const parts = { directory, clock, preflight, databaseUrl, origin };
    const { controlPlane } = await open({ ...parts, ...options });
    return new ControlPlaneApi({ ...parts, controlPlane, tenants });
  }

  principal(tenant: Tenant = "ours"): Principal {
    const { id: account } = this.tenants[tenant].account;
    return { account, tokenId: "test", role: "admin", scope: { kind: "account" } };
  }

  /** Calls `/client/v4<path>`; `A` at its start stands for the tenant's account. */
  async fetch(path: string, init: RequestInit = {}, tenant: Tenant = "ours"): Promise<Response> {
    const { account, token } = this.tenants[tenant];
    const address = path.replace(/^A\//, `/accounts/${account.id}/`);
    const headers = new Headers({ authorization: `Bearer ${token}` });
    for (const [name, value] of new Headers(init.headers)) headers.set(name, value);
    return fetch(`${this.controlPlane.url}/client/v4${address}`, { ...init, headers });
  }

  /** `call("PUT A/workers/…", body)`: JSON unless the body is a form. */
  async call(line: string, body?: unknown, tenant?: Tenant): Promise<Answer> {
    const [method = "GET", path = ""] = line.split(" ");
    const init: RequestInit = { method };
    if (body instanceof FormData) init.body = body;
    else if (body !== undefined) init.body = JSON.stringify(body);
    return answerOf(await this.fetch(path, init, tenant));
  }

  /** Uploads and deploys a worker, of one small module unless told otherwise. */
  async deploy(
    name: string,
    metadata: Readonly<Record<string, unknown>> = {},
    tenant?: Tenant,
  ): Promise<Answer> {
    return this.call(`PUT A/workers/scripts/${name}`, uploadForm(metadata), tenant);
  }

  /** How many rows of everything there are: equal before and after whatever must change nothing. */
  async countRows(): Promise<Readonly<Record<string, number>>> {
    const tables = ["workers", "versions", "version_secrets", "deployments", "routes"] as const;
    const counts: Record<string, number> = {};
    for (const table of [...tables, "state_changes", "audit"] as const) {
      const rows = await this.controlPlane.database.selectFrom(table).selectAll().execute();
      counts[table] = rows.length;
    }
    return counts;
  }

  async close(): Promise<void> {
    await this.controlPlane.close();
    await this.origin.close();
    await rm(this.directory, { recursive: true, force: true });
  }
}

interface StartOptions {
  /** Time that does not pass unless told otherwise. */
  readonly clock?: TestClock;
  readonly requestRates?: RequestRates;
  readonly servedWaitMs?: number;
  readonly openBlobs?: (area: BlobArea) => BlobStore;
  readonly databaseUrl?: string;
  readonly peerUrl?: string;
  /** By default no route needs a proof: most tests are not about domains. */
  readonly ownershipRule?: OwnershipRule;
  readonly dnsServers?: ReadonlyArray<string>;
  readonly isFrontPageOpenHere?: boolean;
}

async function open(parts: {
  readonly directory: string;
  readonly clock: TestClock;
  readonly preflight: ScriptedPreflight;
  readonly databaseUrl: string | undefined;
  /** Made when there is none yet. */
  readonly origin?: SqliteOrigin;
  readonly requestRates?: RequestRates;
  readonly peerUrl?: string;
  readonly servedWaitMs?: number;
  readonly openBlobs?: (area: BlobArea) => BlobStore;
  readonly ownershipRule?: OwnershipRule;
  readonly dnsServers?: ReadonlyArray<string>;
  readonly isFrontPageOpenHere?: boolean;
}): Promise<{ readonly controlPlane: ControlPlane; readonly origin: SqliteOrigin }> {
  const { directory, clock, preflight, ...options } = parts;
  const log = pino({ level: "silent" });
  const file = { path: join(directory, "kv.sqlite"), clock, log };
  const origin = parts.origin ?? SqliteOrigin.open(file);
  const controlPlane = await createControlPlane({
    dataDirectory: directory,
    host: "127.0.0.1",
    port: 0,
    baseDomain: "atoll.test",
    publicIngressPort: 4401,
    ownershipRule: "none",
    environmentFile: "wrangler.env",
    masterKey: undefined,
    preflight,
    kvOrigin: origin,
    ...options,
    log,
    clock,
  });
  return { controlPlane, origin };
}

export const MAIN_MODULE: UploadedFileSpec = {
  name: "index.js",
  type: "application/javascript+module",
  content: "export default { fetch() { return new Response('hello') } }",
};

/** An upload as wrangler makes it: the metadata first, then a part per module. */
export function uploadForm(
  metadata: Readonly<Record<string, unknown>>,
  files: ReadonlyArray<UploadedFileSpec> = [MAIN_MODULE],
): FormData {
  const form = new FormData();
  const main = files.length === 0 ? {} : { main_module: "index.js" };
  form.set("metadata", JSON.stringify({ ...main, compatibility_date: "2026-04-01", ...metadata }));
  for (const { name, type, content } of files) {
    form.append(name, new File([content], name, { type }));
  }
  return form;
}
