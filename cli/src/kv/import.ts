import { setTimeout as sleep } from "node:timers/promises";
import { ImportResult } from "@atoll/control-plane";
import { UsageError } from "../settings.ts";
import { RefusedError } from "../account-api.ts";
import type { KvApi } from "./api.ts";
import { entryLines, withDump, type EntryLine } from "./dump-file.ts";
import { Progress } from "./progress.ts";

/** Entries of one call, which writes all of them or none. */
const BATCH_ENTRIES_MAX = 1_000;
/** Characters of one call, unless a single entry has more: the control plane holds them in memory. */
const BATCH_CHARACTERS_MAX = 8 * 1024 * 1024;
/** Refusals for the account's rate, one after another, until an import gives up: a minute. */
const RATE_REFUSALS_MAX = 60;
/** What an import waits for at once: not for the next day, where the account has used up this one. */
const RATE_WAIT_SECONDS_MAX = 60;

/**
 * Writes the entries of a dump into a namespace, over what is there; other keys stay. All of the dump is read
 * first: one that is wrong in any line is refused, and nothing is written.
 */
export async function importNamespace(
  api: KvApi,
  options: { readonly namespace: string; readonly file: string | undefined },
): Promise<ImportResult> {
  const { id } = await api.find(options.namespace);
  return withDump(options.file, async (path) => {
    const progress = new Progress();
    try {
      let total = 0;
      for await (const { number } of entryLines(path)) {
        total += 1;
        progress.show(`checking: line ${number}`);
      }
      return await new Import(api, { id, total, progress }).run(path);
    } finally {
      progress.end();
    }
  });
}

class Import {
  readonly #api: KvApi;
  readonly #id: string;
  readonly #total: number;
  readonly #progress: Progress;
  #written = 0;
  #expired = 0;
  /** Halved for an account that may not write as many at once. */
  #entriesMax = BATCH_ENTRIES_MAX;
  /** Up to this line all is written. */
  #doneLine = 0;

  constructor(
    api: KvApi,
    of: { readonly id: string; readonly total: number; readonly progress: Progress },
  ) {
    this.#api = api;
    this.#id = of.id;
    this.#total = of.total;
    this.#progress = of.progress;
  }

  async run(path: string): Promise<ImportResult> {
    let batch: EntryLine[] = [];
    let characters = 0;
    for await (const line of entryLines(path)) {
      batch.push(line);
      characters += line.text.length;
      if (batch.length < this.#entriesMax && characters < BATCH_CHARACTERS_MAX) continue;
      await this.#send(batch);
      batch = [];
      characters = 0;
    }
    await this.#send(batch);
    return { written: this.#written, expired: this.#expired };
  }

  async #send(batch: ReadonlyArray<EntryLine>): Promise<void> {
    let rest = batch;
    let refusals = 0;
    while (rest.length > 0) {
      const part = rest.slice(0, this.#entriesMax);
      try {
        const { written, expired } = await this.#write(part);
        this.#written += written;
        this.#expired += expired;
        this.#doneLine = part.at(-1)?.number ?? this.#doneLine;
        this.#progress.show(`${this.#written + this.#expired} of ${this.#total} entries`);
        rest = rest.slice(part.length);
        refusals = 0;
      } catch (error) {
        refusals += 1;
        await this.#waitFor(error, { refusals, entries: part.length });
      }
    }
  }

  #write(lines: ReadonlyArray<EntryLine>): Promise<ImportResult> {
    const body = lines.map(({ text }) => text).join("\n");
    return this.#api.call(`/namespaces/${this.#id}/import`, ImportResult, { method: "POST", body });
  }

  /** For a rate that is exceeded: with fewer entries, the next second may take them. */
  async #waitFor(
    error: unknown,
    { refusals, entries }: { readonly refusals: number; readonly entries: number },
  ): Promise<void> {
    const seconds = error instanceof RefusedError ? error.retryAfterSeconds : undefined;
    const isForSoon = seconds !== undefined && seconds <= RATE_WAIT_SECONDS_MAX;
    if (!isForSoon || refusals > RATE_REFUSALS_MAX) throw this.#explained(error);
    this.#entriesMax = Math.max(1, Math.floor(entries / 2));
    await sleep(seconds * 1_000);
  }

  #explained(error: unknown): unknown {
    if (!(error instanceof UsageError)) return error;
    const done =
      this.#doneLine === 0
        ? "Nothing was written"
        : `The entries up to line ${this.#doneLine} are written, those behind it are not`;
    return new UsageError(`${error.message}\n${done}. The same import may be repeated.`, {
      cause: error,
    });
  }
}
