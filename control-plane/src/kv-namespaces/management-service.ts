import {
  KvError,
  LIMITS as KV_LIMITS,
  Revision,
  StateDigest,
  type Key,
  type KvEntry,
  type ManagedOrigin,
  type NamespaceId,
} from "@atoll/kv-store";
import {
  checkNamespace,
  dumpLine,
  entriesAt,
  parseDumpLine,
  restoreSome,
  type DumpedEntry,
} from "@atoll/kv-store/management";
import type { AccountsService } from "../accounts/service.ts";
import type { BlobStore } from "../blobs/blob-store.ts";
import { BlobHash, type AccountId, type KvStatus } from "../contract/index.ts";
import { ControlPlaneError } from "../errors.ts";
import type { FleetRegistry } from "../fleet/fleet-registry.ts";
import type { Principal } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import type { NodesService } from "../nodes/service.ts";
import type { KvCharges } from "../usage/kv-charges.ts";
import type { EntriesService } from "./entries-service.ts";
import type {
  AccountKvStatus,
  ImportResult,
  NamespaceCheck,
  NamespaceStatus,
  RestoreResult,
} from "./management-schemas.ts";
import { parseAs } from "./refusal.ts";
import type { Namespace } from "./schemas.ts";

export interface ManagementServiceOptions {
  readonly origin: ManagedOrigin;
  readonly entries: EntriesService;
  readonly blobs: Pick<BlobStore, "get" | "has">;
  readonly nodes: NodesService;
  readonly registry: FleetRegistry;
  readonly accounts: AccountsService;
  readonly charges: Pick<KvCharges, "charge">;
}

/** What is exported. */
interface Exported {
  readonly account: AccountId;
  readonly namespace: NamespaceId;
  /** Now, when it is absent. */
  readonly atMs: number | undefined;
}

/** A node that holds a copy of a namespace, and what it last told of it. */
interface Holder {
  readonly node: string;
  readonly region: string;
  readonly connected: boolean;
  readonly status: KvStatus;
}

type ReplicaCheck = NamespaceCheck["replicas"][number];

/** Looks after namespaces that were found to be the caller's. */
export class ManagementService {
  readonly #options: ManagementServiceOptions;

  constructor(options: ManagementServiceOptions) {
    this.#options = options;
  }

  /** Of one of the caller's namespaces; the account's sums are of all. Rejected when it is removed meanwhile. */
  async status(principal: Principal, namespace: Namespace): Promise<AccountKvStatus> {
    const account = await this.#accountStatus(principal);
    return { account, namespaces: [await this.#namespaceStatus(namespace)] };
  }

  /** Of the namespaces that were listed for the caller, without those that somebody has removed since. */
  async statusOfListed(
    principal: Principal,
    listed: ReadonlyArray<Namespace>,
  ): Promise<AccountKvStatus> {
    const account = await this.#accountStatus(principal);
    const namespaces: NamespaceStatus[] = [];
    for (const namespace of listed) {
      try {
        namespaces.push(await this.#namespaceStatus(namespace));
      } catch (error) {
        if (!(error instanceof KvError) || error.code !== "namespace_not_found") throw error;
      }
    }
    return { account, namespaces };
  }

  /**
   * The namespace as it was at a moment, or is now, as the lines of a dump; each entry is charged as a read before
   * it is among them. The moment is looked up, and the first entries are charged, before this resolves; what
   * fails later ends the lines without a last one.
   */
  async export({ account, namespace, atMs }: Exported): Promise<AsyncGenerator<string>> {
    const { origin } = this.#options;
    const nowMs = origin.nowMs();
    const { administration } = origin;
    const revision =
      atMs === undefined
        ? (await administration.describe(namespace)).revision
        : await administration.revisionAt(namespace, atMs);
    const at = new Date(atMs ?? nowMs).toISOString();
    const parts = this.#chargedEntries({ account, namespace, revision, nowMs });
    const head = { atoll: "kv-dump", version: 1, namespace, revision, at } as const;
    return this.#lines(head, await nextOf(parts), parts);
  }

  /** Writes the entries of lines of a dump, all or none; what has expired is left out. */
  async import(namespace: NamespaceId, lines: string): Promise<ImportResult> {
    const linesMax = KV_LIMITS.bulkWriteKeysMax;
    const texts = lines.replace(/\n$/, "").split("\n", linesMax + 1);
    // It becomes one transaction, for which everybody else waits.
    if (texts.length > linesMax) {
      const text = `A part of an import has more than ${linesMax} lines`;
      throw new ControlPlaneError("kv_bulk_too_large", text);
    }
    const parsed = texts.map((line, index) =>
      parseAs(`line ${index + 1}`, () => parseEntryLine(line)),
    );
    const nowSeconds = Math.floor(this.#options.origin.nowMs() / 1_000);
    const live = parsed.filter(({ expiresAt = Infinity }) => expiresAt > nowSeconds);
    await this.#options.entries.put(
      namespace,
      live.map(({ key, value, metadata, expiresAt }) => ({ key, value, metadata, expiresAt })),
    );
    return { written: live.length, expired: parsed.length - live.length };
  }

  /** Takes the namespace back to a moment; one part after another; see `restoreSome`. */
  async restore(
    namespace: NamespaceId,
    options: { readonly atMs: number; readonly isDryRun: boolean; readonly after: Key | null },
  ): Promise<RestoreResult> {
    const { origin, blobs } = this.#options;
    return restoreSome({
      ...{ ...options, origin, namespace, nowMs: origin.nowMs() },
      blobs: { has: (hash) => blobs.has(BlobHash.parse(hash)) },
    });
  }

  /** Compares a namespace's origin with itself, its large values with their store, and all replicas with it. */
  async check(
    namespace: Namespace,
    { isContentRead }: { readonly isContentRead: boolean },
  ): Promise<NamespaceCheck> {
    const { id, title } = namespace;
    const findings = await checkNamespace({
      ...{ origin: this.#options.origin, namespace: id },
      checkValue: (hash, size) => this.#checkValue(BlobHash.parse(hash), { size, isContentRead }),
    });
    const replicas: ReplicaCheck[] = [];
    for (const holder of await this.#holders(id)) replicas.push(await this.#compare(id, holder));
    return { id, title, findings: [...findings], replicas };
  }

  async #accountStatus(principal: Principal): Promise<AccountKvStatus["account"]> {
    const { origin, accounts } = this.#options;
    const { id, name, kvQuota: quota } = await accounts.configured(principal);
    return { id, name, ...(await origin.administration.accountUse(id)), quota };
  }

  async #namespaceStatus({ id, title }: Namespace): Promise<NamespaceStatus> {
    const extent = await this.#options.origin.administration.describe(id);
    const { revision, digest, keys, bytes, log } = extent;
    const since = new Date(log.startMs).toISOString();
    const holders = await this.#holders(id);
    const replicas = holders.map(({ status, ...node }) => ({ ...node, ...status }));
    return {
      ...{ id, title, revision, digest, keys, bytes, replicas },
      log: { records: log.records, bytes: log.bytes, since },
    };
  }

  /** Sorted by name. */
  async #holders(namespace: NamespaceId): Promise<ReadonlyArray<Holder>> {
    const { nodes, registry } = this.#options;
    const holders = (await nodes.list()).flatMap(({ name, region }) => {
      const known = registry.get(name);
      const status = known?.report.kv.find((each) => each.namespace === namespace);
      if (known === undefined || status === undefined) return [];
      return [{ node: name, region, connected: known.connected, status }];
    });
    return holders.toSorted((left, right) => left.node.localeCompare(right.node));
  }

  /** The origin's log knows the digest of each revision: it says whether the replica's state was ever its own. */
  async #compare(
    namespace: NamespaceId,
    { node, region, connected, status }: Holder,
  ): Promise<ReplicaCheck> {
    const { revision, digest } = status;
    const result = (verdict: ReplicaCheck["verdict"]) => ({ node, region, revision, verdict });
    if (!connected || digest === null) return result("unknown");
    const held = { revision: Revision.parse(revision), digest: StateDigest.parse(digest) };
    const page = await this.#options.origin.readLog(namespace, held);
    switch (page.kind) {
      case "records":
        return result(page.records.length === 0 ? "same" : "behind");
      case "diverged":
        return result("differs");
      case "truncated":
        return result("unknown");
    }
  }

  async #checkValue(
    hash: BlobHash,
    { size, isContentRead }: { readonly size: number; readonly isContentRead: boolean },
  ): Promise<string | undefined> {
    const { blobs } = this.#options;
    if (!isContentRead) {
      return (await blobs.has(hash)) ? undefined : `its content ${hash} is not in the blob store`;
    }
    try {
      const content = await blobs.get(hash);
      if (content === undefined) return `its content ${hash} is not in the blob store`;
      return content.length === size ? undefined : `it has ${content.length} bytes, not ${size}`;
    } catch (error) {
      if (error instanceof ControlPlaneError && error.code === "blob_corrupt") return error.message;
      throw error;
    }
  }

  async *#lines(
    head: Parameters<typeof dumpLine>[0],
    first: ReadonlyArray<KvEntry>,
    rest: AsyncGenerator<ReadonlyArray<KvEntry>>,
  ): AsyncGenerator<string> {
    yield dumpLine(head);
    let entries = 0;
    for (let part = first; part.length > 0; part = await nextOf(rest)) {
      for (const entry of part) yield dumpLine(await this.#withValue(entry));
      entries += part.length;
    }
    yield dumpLine({ end: true, entries });
  }

  /** What a namespace had at a revision and has not expired since, some entries at a time, never none. */
  async *#chargedEntries(of: {
    readonly account: AccountId;
    readonly namespace: NamespaceId;
    readonly revision: Revision;
    readonly nowMs: number;
  }): AsyncGenerator<ReadonlyArray<KvEntry>> {
    const { account, namespace, revision, nowMs } = of;
    const { origin, charges } = this.#options;
    let part: KvEntry[] = [];
    for await (const entry of entriesAt(origin, namespace, revision)) {
      if (entry.expiresAt !== undefined && entry.expiresAt * 1_000 <= nowMs) continue;
      part.push(entry);
      if (part.length < LIMITS.kvExportEntriesCharged) continue;
      await charges.charge(account, { use: "read", count: part.length });
      yield part;
      part = [];
    }
    if (part.length === 0) return;
    await charges.charge(account, { use: "read", count: part.length });
    yield part;
  }

  async #withValue(entry: KvEntry): Promise<DumpedEntry> {
    return { ...entry, value: new Uint8Array(await this.#options.entries.valueOf(entry)) };
  }
}

async function nextOf(
  parts: AsyncGenerator<ReadonlyArray<KvEntry>>,
): Promise<ReadonlyArray<KvEntry>> {
  const next = await parts.next();
  return next.done === true ? [] : next.value;
}

function parseEntryLine(line: string): DumpedEntry {
  const parsed = parseDumpLine(line);
  if (parsed.kind === "entry") return parsed.entry;
  throw new KvError("import_invalid", "it is a dump's first or last line, which is no entry");
}
