import { AccountStore } from "../accounts/store.ts";
import { workerNameOfKey } from "../contract/index.ts";
import type { Database } from "../database/database.ts";
import type { Principal } from "../http/request-context.ts";
import { NamespaceStore } from "../kv-namespaces/store.ts";
import { WorkerStore } from "../workers/store.ts";
import type { FleetStatus } from "./status.ts";

/** What of a fleet's status somebody may see. */
interface View {
  /** Names of workers, which are unique across accounts. */
  readonly workers: ReadonlySet<string>;
  readonly namespaces: ReadonlySet<string>;
}

/**
 * The status as the caller may see it: the account that was made first is the operator's, and sees all; any
 * other sees the nodes, and on them its own workers and namespaces; a token of one of these sees that alone.
 */
export async function visibleStatus(
  database: Database,
  principal: Principal,
  status: FleetStatus,
): Promise<FleetStatus> {
  if (await isOperator(database, principal)) return status;
  const { workers, namespaces } = await viewOf(database, principal);
  const isOwn = (key: string): boolean => workers.has(workerNameOfKey(key));
  return {
    revision: status.revision,
    workers: status.workers.filter(({ name }) => workers.has(name)),
    nodes: status.nodes.map((node) => ({
      ...node,
      failures: node.failures.filter(({ worker }) => isOwn(worker)),
      cells: node.cells.filter((cell) => cell.workers.some(isOwn)),
      kv: node.kv.filter(({ namespace }) => namespaces.has(namespace)),
      cellFaults: node.cellFaults.filter((fault) => fault.workers.some(isOwn)),
      // It counts everybody's.
      cellEnds: {},
    })),
  };
}

async function isOperator(database: Database, { account, scope }: Principal): Promise<boolean> {
  const first = await new AccountStore().first(database);
  return scope.kind === "account" && first?.id === account;
}

async function viewOf(database: Database, { account, scope }: Principal): Promise<View> {
  if (scope.kind === "worker") {
    return ownWorkers(database, { account, only: scope.worker });
  }
  if (scope.kind === "namespace") {
    return { workers: new Set(), namespaces: new Set([scope.namespace]) };
  }
  const { workers } = await ownWorkers(database, { account });
  const namespaces = await new NamespaceStore().listAll(database, account);
  return { workers, namespaces: new Set(namespaces.map(({ id }) => id)) };
}

async function ownWorkers(
  database: Database,
  { account, only }: { readonly account: Principal["account"]; readonly only?: string },
): Promise<View> {
  const own = await new WorkerStore().list(database, account);
  const names = own.map(({ name }) => name).filter((name) => only === undefined || name === only);
  return { workers: new Set(names), namespaces: new Set() };
}
