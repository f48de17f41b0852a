import type { AccountId, WorkerName } from "../contract/index.ts";
import type { Database, Transaction } from "../database/database.ts";
import { ControlPlaneError } from "../errors.ts";
import type { Principal } from "../http/request-context.ts";
import type { ScriptSettings, StoredWorker } from "./schemas.ts";
import { WorkerStore } from "./store.ts";

/** Names of the workers that hear what happens to one. */
export function tailConsumersOf(settings: ScriptSettings): ReadonlyArray<WorkerName> {
  return (settings.tail_consumers ?? []).map(({ service }) => service);
}

/** The account's workers that tell a worker what happens to them. */
export async function tailProducersOf(
  database: Database | Transaction,
  { account, name }: Pick<StoredWorker, "account" | "name">,
): Promise<ReadonlyArray<WorkerName>> {
  const workers = await new WorkerStore().list(database, account);
  return workers
    .filter(({ settings }) => tailConsumersOf(settings).includes(name))
    .map((worker) => worker.name);
}

/**
 * Refuses consumers that do not exist, and such as would in the end hear of themselves: each call of theirs
 * would make another one, for ever. Throws `tail_consumer_invalid`.
 */
export async function checkTailConsumers(
  database: Database | Transaction,
  { account, name, settings }: Pick<StoredWorker, "account" | "name" | "settings">,
): Promise<void> {
  const wanted = tailConsumersOf(settings);
  if (wanted.length === 0) return;
  const consumersOf = await readConsumers(database, account);
  const missing = wanted.find((consumer) => !consumersOf.has(consumer) && consumer !== name);
  if (missing !== undefined) {
    throw new ControlPlaneError(
      "tail_consumer_invalid",
      `The tail consumer '${missing}' does not exist in this account. Deploy it first.`,
    );
  }
  const heard = new Set<WorkerName>();
  const hear = (consumers: ReadonlyArray<WorkerName>): void => {
    for (const consumer of consumers) {
      if (heard.has(consumer)) continue;
      heard.add(consumer);
      hear(consumersOf.get(consumer) ?? []);
    }
  };
  hear(wanted);
  if (!heard.has(name)) return;
  throw new ControlPlaneError(
    "tail_consumer_invalid",
    `'${name}' would hear what happens to itself, by its tail consumers ${wanted.join(", ")}: each call would make another one`,
  );
}

/**
 * A token of one worker reaches no other, and who hears of a worker is called for each of its requests: so it may keep
 * those that hear of it already, and add none. Throws `scope_exceeded`.
 */
export function refuseNewConsumers(
  { scope }: Principal,
  { wanted, earlier }: { readonly wanted: ScriptSettings; readonly earlier: ScriptSettings },
): void {
  if (scope.kind !== "worker") return;
  const known = new Set(tailConsumersOf(earlier));
  const added = tailConsumersOf(wanted).find((name) => !known.has(name));
  if (added === undefined) return;
  throw new ControlPlaneError(
    "scope_exceeded",
    `Authentication error: the API token is for the worker '${scope.worker}' alone, so it can't make '${added}' hear of it: set that once with a token of the account`,
  );
}

async function readConsumers(
  database: Database | Transaction,
  account: AccountId,
): Promise<ReadonlyMap<WorkerName, ReadonlyArray<WorkerName>>> {
  const workers = await new WorkerStore().list(database, account);
  return new Map(workers.map(({ name, settings }) => [name, tailConsumersOf(settings)]));
}
