import type {
  KyselyPlugin,
  PluginTransformQueryArgs,
  PluginTransformResultArgs,
  QueryResult,
  RootOperationNode,
  UnknownRow,
} from "kysely";

/** A statement, and how many rows it answered. */
export interface CountedQuery {
  readonly kind: RootOperationNode["kind"];
  readonly rows: number;
}

/** Tells a test which statements a database was asked, and what they read. */
export class QueryCounter implements KyselyPlugin {
  readonly #kinds = new WeakMap<object, RootOperationNode["kind"]>();
  #queries: CountedQuery[] = [];

  /** Those since the last time. */
  take(): ReadonlyArray<CountedQuery> {
    const queries = this.#queries;
    this.#queries = [];
    return queries;
  }

  transformQuery({ node, queryId }: PluginTransformQueryArgs): RootOperationNode {
    this.#kinds.set(queryId, node.kind);
    return node;
  }

  async transformResult({
    result,
    queryId,
  }: PluginTransformResultArgs): Promise<QueryResult<UnknownRow>> {
    const kind = this.#kinds.get(queryId);
    if (kind !== undefined) this.#queries.push({ kind, rows: result.rows.length });
    return result;
  }
}
