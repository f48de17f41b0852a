import type { Benchmark, Figure, Outcome } from "./benchmark.ts";
import {
  ACCOUNTS,
  ENGINES,
  startFullControlPlane,
  uploadForm,
  VERSIONS_PER_WORKER,
  WORKERS_PER_ACCOUNT,
  type Engine,
  type FullControlPlane,
  type Tenant,
} from "./full-control-plane.ts";
import { longestBlockOfJoin } from "./loop-blocks.ts";
import { median, percentile } from "./statistics.ts";

const CALLS_EACH = 200;
// Not counted: connections, compiled code and statements are new.
const WARM_UP = 10;
const CALL_MS = 50;
// For which everybody else waits when a node gets all workers.
const BLOCK_MS = 50;
const JOINING = ["first", "second", "third"];

interface Call {
  readonly method?: "GET" | "PUT" | "POST" | "DELETE";
  /** Below the account. */
  readonly path: string;
  readonly body?: unknown;
}

/** What wrangler and the `atoll` command ask for every day, of one worker of a tenant. */
const CALLS: Readonly<Record<string, (parts: CallParts) => Call>> = {
  "upload and deploy": ({ script, turn }) => ({
    method: "PUT",
    path: script,
    body: uploadForm(`turn ${turn}`),
  }),
  "list workers": () => ({ path: "/workers/scripts" }),
  "look at a worker": ({ worker }) => ({ path: `/workers/services/${worker}` }),
  "bindings of a worker": ({ script }) => ({ path: `${script}/settings` }),
  "list versions": ({ script }) => ({ path: `${script}/versions` }),
  "look at a version": ({ script, version }) => ({ path: `${script}/versions/${version}` }),
  "list deployments": ({ script }) => ({ path: `${script}/deployments` }),
  "put a secret": ({ script, turn }) => ({
    method: "PUT",
    path: `${script}/secrets`,
    body: { name: `KEY_${turn % 3}`, text: `value ${turn}`, type: "secret_text" },
  }),
  "list secrets": ({ script }) => ({ path: `${script}/secrets` }),
  "subdomain of a worker": ({ script }) => ({ path: `${script}/subdomain` }),
  "set routes": ({ script, worker, turn }) => ({
    method: "PUT",
    path: `${script}/routes`,
    body: [{ pattern: `${worker}.example.com/*` }, { pattern: `${worker}-${turn}.example.org/*` }],
  }),
  "list schedules": ({ script }) => ({ path: `${script}/schedules` }),
  "set schedules": ({ script, turn }) => ({
    method: "PUT",
    path: `${script}/schedules`,
    body: [{ cron: "0 3 * * *" }, { cron: `${turn % 60} 4 * * *` }],
  }),
  "make a namespace": ({ turn }) => ({
    method: "POST",
    path: "/storage/kv/namespaces",
    body: { title: `title ${turn}` },
  }),
  "list namespaces": () => ({ path: "/storage/kv/namespaces" }),
  "list tokens": () => ({ path: "/tokens" }),
  "read the audit trail": () => ({ path: "/audit" }),
  "read the usage": () => ({ path: "/usage" }),
  // The last: secrets are put to the newest version alone, and this makes another one serve.
  "deploy a version": ({ script, version }) => ({
    method: "POST",
    path: `${script}/deployments?force=true`,
    body: { strategy: "percentage", versions: [{ version_id: version, percentage: 100 }] },
  }),
};

interface CallParts {
  readonly worker: string;
  readonly script: string;
  readonly version: string;
  readonly turn: number;
}

/** Whether the calls of every day stay quick when many tenants have many workers, on both databases. */
export const controlPlane: Benchmark = {
  name: "control-plane",
  subject: `calls of every day with ${ACCOUNTS * WORKERS_PER_ACCOUNT} workers, ${ACCOUNTS * WORKERS_PER_ACCOUNT * VERSIONS_PER_WORKER} versions and ${ACCOUNTS} accounts in the database`,
  run: async (resources): Promise<Outcome> => {
    const full = new Map<Engine, FullControlPlane>();
    for (const engine of ENGINES) {
      full.set(engine, await startFullControlPlane(resources, engine));
    }
    const samples: Record<string, number[]> = {};
    for (const name of Object.keys(CALLS)) {
      // The engines in turns, so that what else the machine does meets both.
      for (let turn = 0; turn < WARM_UP + CALLS_EACH; turn += 1) {
        for (const [engine, { url, tenants }] of full) {
          const tookMs = await timeCall(url, tenants, { name, turn });
          if (turn >= WARM_UP) (samples[`${engine}: ${name}`] ??= []).push(tookMs);
        }
      }
    }
    const figures = ENGINES.flatMap((engine) => figuresOf(engine, samples));
    for (const [engine, { controlPlane: joined }] of full) {
      const blocks: number[] = [];
      for (const name of JOINING) blocks.push(await longestBlockOfJoin(joined, name));
      figures.push({
        name: `${engine}: longest block of the event loop when a node joins`,
        value: median(blocks),
        unit: "ms",
        atMost: BLOCK_MS,
      });
    }
    return { settings: { callsEach: CALLS_EACH, warmUp: WARM_UP }, figures, samples };
  },
};

async function timeCall(
  url: string,
  tenants: ReadonlyArray<Tenant>,
  { name, turn }: { readonly name: string; readonly turn: number },
): Promise<number> {
  // In leaps, so that what was used last is of no help.
  const tenant = tenants[(turn * 617) % tenants.length] as Tenant;
  const index = turn % WORKERS_PER_ACCOUNT;
  const worker = `${tenant.prefix}-${index}`;
  const version = tenant.versions[index] ?? "";
  const parts = { worker, script: `/workers/scripts/${worker}`, version, turn };
  const { method = "GET", path, body } = (CALLS[name] as (parts: CallParts) => Call)(parts);
  const startedAt = performance.now();
  const response = await fetch(`${url}/client/v4/accounts/${tenant.account}${path}`, {
    method,
    headers: { authorization: `Bearer ${tenant.token}` },
    ...(body === undefined ? {} : { body: body instanceof FormData ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  const tookMs = performance.now() - startedAt;
  if (!response.ok) throw new Error(`${name}: ${response.status} ${text}`);
  return tookMs;
}

function figuresOf(
  engine: Engine,
  samples: Readonly<Record<string, ReadonlyArray<number>>>,
): ReadonlyArray<Figure> {
  return Object.keys(CALLS).flatMap((name): ReadonlyArray<Figure> => {
    const taken = samples[`${engine}: ${name}`] ?? [];
    return [
      { name: `${engine}: ${name}, p50`, value: median(taken), unit: "ms" },
      {
        name: `${engine}: ${name}, p99`,
        value: percentile(taken, 0.99),
        unit: "ms",
        atMost: CALL_MS,
      },
    ];
  });
}
