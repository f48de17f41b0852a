import type { ContentHash, KvEntry } from "../entry.ts";
import { KvError } from "../errors.ts";
import { Revision, type HistoryPoint, type NamespaceId } from "../names.ts";
import type { ManagedOrigin, NamespaceExtent } from "../origin/administration.ts";
import type { KvSize } from "../origin/quota.ts";
import { sizeOf } from "../origin/quota.ts";
import { encodeOperation } from "../record-codec.ts";
import { entryDigest, StateSum } from "../state-digest.ts";
import { entriesAt } from "./entries-at.ts";

export interface NamespaceCheckOptions {
  readonly origin: ManagedOrigin;
  readonly namespace: NamespaceId;
  /** Says what is wrong with a large value that an entry names; `undefined` when nothing is. */
  readonly checkValue: (hash: ContentHash, size: number) => Promise<string | undefined>;
}

// A namespace that is wrong throughout says so in a few sentences as well.
const FINDINGS_MAX = 20;

/**
 * Reads all of a namespace at its origin and compares it with what the origin says of itself: its entries with
 * its digest and its counts, its log with the digests at both ends, and each large value with the store that
 * should have it. Writers need not wait. Returns what differs, in sentences; nothing when all is well.
 */
export async function checkNamespace(
  options: NamespaceCheckOptions,
): Promise<ReadonlyArray<string>> {
  const { origin, namespace } = options;
  const findings: string[] = [];
  const extent = await origin.administration.describe(namespace);
  try {
    await checkEntries(options, extent, findings);
    await checkLog(options, extent, findings);
    await checkOldest(options, findings);
  } catch (error) {
    // Damage ends the reading there, and is what was looked for; everything else is no finding.
    if (!(error instanceof KvError) || error.code !== "storage_failed") throw error;
    findings.push(error.message);
  }
  return findings.slice(0, FINDINGS_MAX);
}

async function checkEntries(
  { origin, namespace, checkValue }: NamespaceCheckOptions,
  extent: NamespaceExtent,
  findings: string[],
): Promise<void> {
  const sum = new StateTally();
  for await (const entry of entriesAt(origin, namespace, extent.revision)) {
    sum.add(entry);
    const { value } = entry;
    if (value.kind === "inline" || findings.length >= FINDINGS_MAX) continue;
    const wrong = await checkValue(value.hash, value.size);
    const key = JSON.stringify(entry.key.slice(0, 100));
    if (wrong !== undefined) findings.push(`the large value of key ${key}: ${wrong}`);
  }
  findings.push(...sum.differences(extent, `the entries as of revision ${extent.revision}`));
}

/** Each record must lead from the digest before it to its own. */
async function checkLog(
  { origin, namespace }: NamespaceCheckOptions,
  extent: NamespaceExtent,
  findings: string[],
): Promise<void> {
  let { revision, digest } = extent.log.start;
  while (revision < extent.revision) {
    const records = await inReach(origin.administration.readLinks(namespace, revision));
    if (records === undefined) {
      // The log was cut meanwhile: it goes on from where it begins now.
      ({ revision, digest } = (await origin.administration.describe(namespace)).log.start);
      continue;
    }
    if (records.length === 0) {
      findings.push(
        `the log ends at revision ${revision}, and the namespace at ${extent.revision}`,
      );
      return;
    }
    for (const record of records) {
      if (record.revision !== revision + 1) {
        findings.push(`the log has no record between revisions ${revision} and ${record.revision}`);
      }
      const sum = new StateSum(digest);
      const { operation, replaced } = record;
      if (replaced !== undefined) sum.toggle(replaced);
      if (operation.kind === "put") sum.toggle(entryDigest(encodeOperation(operation)));
      if (sum.digest !== record.digest) {
        findings.push(`record ${record.revision} of the log does not lead to its digest`);
      }
      if (record.revision === extent.revision && record.digest !== extent.digest) {
        findings.push(`the log's last record has another digest than the namespace`);
      }
      if (findings.length >= FINDINGS_MAX) return;
      ({ revision, digest } = record);
    }
  }
}

/** The oldest state that can be had must have its digest: all that was replaced since is sound. */
async function checkOldest(options: NamespaceCheckOptions, findings: string[]): Promise<void> {
  // What leaves the log meanwhile need not be right any more.
  findings.push(...((await inReach(findOldest(options))) ?? []));
}

async function findOldest({
  origin,
  namespace,
}: NamespaceCheckOptions): Promise<ReadonlyArray<string>> {
  const oldest = await oldestPoint(origin, namespace);
  if (oldest === undefined) return [];
  const tally = new StateTally();
  for await (const entry of entriesAt(origin, namespace, oldest.revision)) tally.add(entry);
  return tally.differences(oldest, "the oldest state of the log");
}

/**
 * The first end of a transaction that the log knows. It may have been cut in the midst of one, whose operations
 * need not say all of what they replaced of each other.
 */
async function oldestPoint(
  { administration }: ManagedOrigin,
  namespace: NamespaceId,
): Promise<HistoryPoint | undefined> {
  const { log } = await administration.describe(namespace);
  const revision = await administration.revisionAt(namespace, log.startMs);
  if (revision === log.start.revision) return log.start;
  const before = Revision.parse(revision - 1);
  const [last] = await administration.readLinks(namespace, before);
  return last;
}

/** `undefined` for what the log has left behind. */
async function inReach<Result>(read: Promise<Result>): Promise<Result | undefined> {
  try {
    return await read;
  } catch (error) {
    if (error instanceof KvError && error.code === "moment_unknown") return undefined;
    throw error;
  }
}

/** Adds up what a state has. */
class StateTally {
  readonly #sum = new StateSum();
  #keys = 0;
  #bytes = 0;

  add(entry: KvEntry): void {
    const put = { kind: "put", ...entry } as const;
    this.#sum.toggle(entryDigest(encodeOperation(put)));
    this.#keys += 1;
    this.#bytes += sizeOf(put);
  }

  differences(
    expected: Pick<HistoryPoint, "digest"> & Partial<KvSize>,
    subject: string,
  ): ReadonlyArray<string> {
    const { digest, keys = this.#keys, bytes = this.#bytes } = expected;
    const findings: string[] = [];
    if (digest !== this.#sum.digest) {
      findings.push(`${subject} have the digest ${this.#sum.digest}, not ${digest}`);
    }
    if (keys !== this.#keys) findings.push(`${subject} are ${this.#keys} keys, not ${keys}`);
    if (bytes !== this.#bytes) findings.push(`${subject} have ${this.#bytes} bytes, not ${bytes}`);
    return findings;
  }
}
