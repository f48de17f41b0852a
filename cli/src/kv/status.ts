import { AccountKvStatus } from "@atoll/control-plane";
import Table from "cli-table3";
import { formatBytes } from "../bytes.ts";
import type { KvApi } from "./api.ts";

type NamespaceStatus = AccountKvStatus["namespaces"][number];
type Quota = AccountKvStatus["account"]["quota"];

/** Of one namespace, or of all. */
export async function fetchKvStatus(
  api: KvApi,
  namespace: string | undefined,
): Promise<AccountKvStatus> {
  if (namespace === undefined) return api.call("/status", AccountKvStatus);
  const { id } = await api.find(namespace);
  return api.call(`/namespaces/${id}/status`, AccountKvStatus);
}

/** The status as people read it. */
export function formatKvStatus({ account, namespaces }: AccountKvStatus): string {
  const origin = new Table({
    head: ["namespace", "id", "revision", "keys", "size", "log", "restorable since"],
    style: { head: [], border: [] },
  });
  const replicas = new Table({
    head: ["namespace", "node", "region", "revision", "lag", "size there", "values", "state"],
    style: { head: [], border: [] },
  });
  for (const { title, id, revision, keys, bytes, log, replicas: copies } of namespaces) {
    const logText = `${log.records} records, ${formatBytes(log.bytes)}`;
    origin.push([title, id, revision, keys, formatBytes(bytes), logText, log.since]);
    for (const copy of copies) {
      const { node, region } = copy;
      const [size, extent] = [formatBytes(copy.bytes), EXTENTS[copy.extent]];
      const lag = copy.lagMs === null ? "unknown" : `${Math.round(copy.lagMs)} ms`;
      const place = [title, node, region, revisionText(copy, revision), lag];
      replicas.push([...place, size, extent, stateText(copy)]);
    }
  }
  const { quota } = account;
  const used = [
    `${account.keys}${of(quota.keysMax)} keys`,
    `${formatBytes(account.bytes)}${of(quota.bytesMax, formatBytes)}`,
    ...rateTexts(account, quota),
  ];
  return [
    `account ${account.name}: ${used.join(", ")}`,
    origin.toString(),
    replicas.toString(),
  ].join("\n");
}

/** Which values the copy has on its node. */
const EXTENTS = { whole: "all", partial: "those read lately", filling: "all soon" } as const;

function revisionText({ revision }: { readonly revision: number }, latest: number): string {
  return revision === latest ? `${revision}` : `${revision} of ${latest}`;
}

function stateText(copy: NamespaceStatus["replicas"][number]): string {
  if (!copy.connected) return "not connected";
  if (copy.isStorageFailing) return "stays as it is: the node's disk refuses changes";
  const times = copy.repairs === 1 ? "once" : `${copy.repairs} times`;
  const repaired = copy.repairs === 0 ? "" : `, replaced ${times} (${copy.lastRepair})`;
  const state = copy.repairing === null ? "follows" : `is being replaced (${copy.repairing})`;
  return `${state}${repaired}`;
}

function of(max: number | null, format: (value: number) => string = String): string {
  return max === null ? "" : ` of ${format(max)}`;
}

function rateTexts(account: AccountKvStatus["account"], quota: Quota): ReadonlyArray<string> {
  const { writesPerDayMax, writesPerSecondMax } = quota;
  return [
    ...(writesPerDayMax === null
      ? []
      : [`${account.writesToday} of ${writesPerDayMax} writes today`]),
    ...(writesPerSecondMax === null ? [] : [`at most ${writesPerSecondMax} writes per second`]),
  ];
}
