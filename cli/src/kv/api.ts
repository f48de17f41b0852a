import { z } from "zod";
import { AccountApi } from "../account-api.ts";
import { UsageError } from "../settings.ts";
import type { WranglerEnvironment } from "../wrangler-environment.ts";

/** A namespace of the caller's account. */
const Namespace = z.object({ id: z.string(), title: z.string() });
export type Namespace = z.infer<typeof Namespace>;

const PAGE_ROWS = 1_000;

/** The KV API of a running Atoll, for the account of a token. */
export class KvApi extends AccountApi {
  constructor(variables: WranglerEnvironment) {
    super(variables, "/storage/kv");
  }

  /** The namespace with this id or title. Throws a `UsageError` when there is none. */
  async find(text: string): Promise<Namespace> {
    for await (const namespace of this.#namespaces()) {
      if (namespace.id === text || namespace.title === text) return namespace;
    }
    throw new UsageError(`There is no KV namespace '${text}': 'atoll kv status' shows all`);
  }

  /** All of them, by title. */
  async list(): Promise<ReadonlyArray<Namespace>> {
    const all = await Array.fromAsync(this.#namespaces());
    return all.toSorted((left, right) => left.title.localeCompare(right.title));
  }

  async *#namespaces(): AsyncGenerator<Namespace> {
    for (let page = 1; ; page += 1) {
      const path = `/namespaces?page=${page}&per_page=${PAGE_ROWS}`;
      const namespaces = await this.call(path, z.array(Namespace));
      yield* namespaces;
      if (namespaces.length < PAGE_ROWS) return;
    }
  }
}
