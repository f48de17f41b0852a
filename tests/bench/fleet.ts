import { REGIONS, startAtoll, type RegionName, type TestAtoll } from "../support/atoll.ts";
import { eventually } from "../support/eventually.ts";
import { joinNode, type ExtraNode } from "../support/extra-node.ts";
import { upload, type Upload } from "../support/upload.ts";
import { hold } from "./benchmark.ts";

/** Each benchmark has an Atoll of its own, so that no figure depends on which others ran before it. */
export function startBenchAtoll(
  resources: AsyncDisposableStack,
  ingress: "auto" | "haproxy" | "builtin" = "auto",
): Promise<TestAtoll> {
  return hold(
    resources,
    () => startAtoll({ environment: { ATOLL_INGRESS: ingress } }),
    (atoll) => atoll.stop(),
  );
}

/**
 * A node that joins now: every worker that is deployed already is cold there. It listens, and there is a
 * connection to it, so that no sample pays for that.
 */
export async function joinBenchNode(
  resources: AsyncDisposableStack,
  atoll: TestAtoll,
  nodeArguments: ReadonlyArray<string> = [],
): Promise<ExtraNode> {
  const node = await hold(
    resources,
    () => joinNode(atoll, { name: "ams", arguments: nodeArguments }),
    (joined) => joined.stop(),
  );
  await node.get("nobody", "/");
  return node;
}

/** The host that a worker answers to. */
export function hostOf(worker: string): string {
  return `${worker}.localhost`;
}

/** Uploads a worker; rejected when it is refused. */
export async function deploy(atoll: TestAtoll, worker: Upload): Promise<void> {
  const answer = await upload(atoll, worker);
  if (answer.status === 200) return;
  throw new Error(`${worker.name} was refused with ${answer.status}: ${answer.body}`);
}

// A few at a time, as many developers would: one after the other would take minutes.
const DEPLOYS_AT_A_TIME = 4;

/** Uploads many workers; rejected when one is refused. */
export async function deployAll(atoll: TestAtoll, workers: Iterable<Upload>): Promise<void> {
  const left = [...workers];
  const deployNext = async (): Promise<void> => {
    for (let worker = left.pop(); worker !== undefined; worker = left.pop()) {
      await deploy(atoll, worker);
    }
  };
  await Promise.all(Array.from({ length: DEPLOYS_AT_A_TIME }, deployNext));
}

/** Resolves when a worker has answered `body` in every region: it is warm there then. */
export async function warmUp(atoll: TestAtoll, worker: string, body: string): Promise<void> {
  for (const region of REGIONS) {
    await eventually(async () => (await atoll.get(region, hostOf(worker), "/")).body === body, {
      what: `${worker} answers in ${region}`,
    });
  }
}

/** Resolves when every node runs the newest state: nothing is compiled or started any more. */
export async function settled(atoll: TestAtoll): Promise<void> {
  await eventually(
    async () => {
      const { output } = await atoll.atoll(["status", "--json"]);
      const status = JSON.parse(output) as {
        readonly revision: number;
        readonly nodes: ReadonlyArray<{ readonly revision: number }>;
      };
      return status.nodes.every((node) => node.revision === status.revision);
    },
    { what: "every node runs the newest revision" },
  );
}

/** Sends a request that must succeed, and answers its body. */
export async function ask(
  atoll: TestAtoll,
  region: RegionName,
  target: { readonly worker: string; readonly path: string },
): Promise<string> {
  const { status, body } = await atoll.get(region, hostOf(target.worker), target.path);
  if (status === 200) return body;
  throw new Error(`${target.worker}${target.path} answered ${status} in ${region}: ${body}`);
}

/** Creates a namespace and a worker that has it as `env.KV`, warm in every region. */
export async function deployWithNamespace(atoll: TestAtoll, worker: Upload): Promise<void> {
  const account = atoll.variables["CLOUDFLARE_ACCOUNT_ID"];
  const created = await atoll.api(`/accounts/${account}/storage/kv/namespaces`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ title: worker.name }),
  });
  if (created.status !== 200) throw new Error(`no namespace could be created: ${created.body}`);
  const { result } = JSON.parse(created.body) as { readonly result: { readonly id: string } };
  const bindings = [{ type: "kv_namespace", name: "KV", namespace_id: result.id }];
  await deploy(atoll, { ...worker, metadata: { bindings } });
  await warmUp(atoll, worker.name, "ready");
}
