import type { Key, KvCondition, ListOptions } from "../entry.ts";
import { KvError } from "../errors.ts";
import { Revision } from "../names.ts";
import {
  checkCacheTtl,
  checkValueSize,
  parseExpiration,
  parseKey,
  parseListLimit,
  parseMetadata,
  parsePrefix,
} from "../validation.ts";
import type { RequestHead } from "./http/request-head.ts";

/** How fresh an answer must be. */
interface Freshness {
  readonly minRevision?: Revision;
  readonly maxStalenessMs?: number;
}

/** What a caller asks for. Bodies are read later. Freshness and conditions are ours: workerd's binding has none. */
export type KvCall =
  | {
      readonly kind: "get";
      readonly key: Key;
      readonly freshness: Freshness;
      /** It comes from workerd's binding, which shows nobody what is said of the copy beside the value. */
      readonly isBinding: boolean;
    }
  | { readonly kind: "bulk-get"; readonly freshness: Freshness }
  | {
      readonly kind: "put";
      readonly key: Key;
      readonly conditions: ReadonlyArray<KvCondition>;
      readonly metadata?: string;
      /** Seconds since the epoch. */
      readonly expiresAt?: number;
    }
  | {
      readonly kind: "delete";
      readonly key: Key;
      readonly conditions: ReadonlyArray<KvCondition>;
    }
  | { readonly kind: "list"; readonly options: ListOptions; readonly freshness: Freshness };

// The query of nearly every read: to look through it for what it might have costs more than the read.
const PLAIN_READ = "urlencoded=true";

/** With the address that Workers KV would have; every request of the binding has it. */
const BINDING_HEADER = "cf-kv-flprod-405";

/** Carries a value's metadata as JSON in both directions. */
export const METADATA_HEADER = "cf-kv-metadata";

/**
 * Parses the head of a request of workerd's KV binding, or of a worker that speaks its protocol itself. Fails
 * with what Workers KV would refuse. `nowMs` answers the time by which entries expire, `undefined` when it is not
 * known: then nothing can be given a time to live.
 */
export function parseCall(head: RequestHead, nowMs: () => number | undefined): KvCall {
  const { method, target } = head;
  const [path, search] = splitOnce(target, "?");
  if (method === "GET" && search === PLAIN_READ && path !== "/") {
    const key = decodedKey(path.slice(1));
    return { kind: "get", key, freshness: {}, isBinding: head.fields.has(BINDING_HEADER) };
  }
  const query = new URLSearchParams(search);
  if (method === "GET" && path === "/") return parseList(query);
  if (method === "POST" && path === "/bulk/get") {
    return { kind: "bulk-get", freshness: freshnessOf(query) };
  }
  if (method === "GET") return parseGet(path, query);
  if (method === "PUT") return parsePut(head, { path, query, nowMs });
  if (method === "DELETE") {
    const key = keyOf(path, query);
    return { kind: "delete", key, conditions: conditionsOf(key, query) };
  }
  throw new KvError("request_invalid", `${method} ${path.slice(0, 40)} is no call of the binding`);
}

function parseGet(path: string, query: URLSearchParams): KvCall {
  const cacheTtl = query.get("cache_ttl");
  if (cacheTtl !== null) checkCacheTtl(cacheTtl);
  const [key, freshness] = [keyOf(path, query), freshnessOf(query)];
  return { kind: "get", key, freshness, isBinding: false };
}

function parsePut(
  head: RequestHead,
  call: {
    readonly path: string;
    readonly query: URLSearchParams;
    readonly nowMs: () => number | undefined;
  },
): KvCall {
  const { path, query, nowMs } = call;
  const key = keyOf(path, query);
  const expiresAt = expiryOf(query, nowMs);
  const metadata = metadataOf(head);
  // Without a length the body is measured as it comes.
  checkValueSize(head.framing.kind === "length" ? head.framing.bytes : 0);
  return {
    kind: "put",
    key,
    conditions: conditionsOf(key, query),
    ...(metadata === undefined ? {} : { metadata }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
  };
}

function parseList(query: URLSearchParams): KvCall {
  const cursor = query.get("cursor");
  const options = {
    prefix: parsePrefix(query.get("prefix") ?? ""),
    limit: parseListLimit(query.get("key_count_limit")),
    // The binding sends an empty one for a listing that starts from the beginning.
    ...(cursor === null || cursor === "" ? {} : { cursor }),
  };
  return { kind: "list", options, freshness: freshnessOf(query) };
}

function expiryOf(query: URLSearchParams, now: () => number | undefined): number | undefined {
  const expiration = query.get("expiration");
  const expirationTtl = query.get("expiration_ttl");
  if (expiration === null && expirationTtl === null) return undefined;
  const nowMs = now();
  if (nowMs !== undefined) return parseExpiration({ expiration, expirationTtl }, nowMs);
  const text = "this node has not heard of the origin's time yet: nothing was written, try again";
  throw new KvError("origin_unreachable", text);
}

function freshnessOf(query: URLSearchParams): Freshness {
  const minRevision = query.get("min_revision");
  const maxStalenessMs = query.get("max_staleness_ms");
  return {
    ...(minRevision === null ? {} : { minRevision: revisionOf("min_revision", minRevision) }),
    ...(maxStalenessMs === null
      ? {}
      : { maxStalenessMs: numberOf("max_staleness_ms", maxStalenessMs) }),
  };
}

/** `null` and 0 are the same: the key must hold nothing. */
function conditionsOf(key: Key, query: URLSearchParams): ReadonlyArray<KvCondition> {
  const revision = query.get("if_revision");
  if (revision === null) return [];
  return [{ key, revision: revisionOf("if_revision", revision === "null" ? "0" : revision) }];
}

function revisionOf(name: string, text: string): Revision {
  return Revision.parse(numberOf(name, text));
}

function numberOf(name: string, text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  const shown = text.slice(0, 40);
  throw new KvError("request_invalid", `Invalid ${name} of ${shown}. Please specify an integer.`);
}

function keyOf(path: string, query: URLSearchParams): Key {
  const text = path.slice(1);
  return query.get("urlencoded")?.toLowerCase() === "true" ? decodedKey(text) : parseKey(text);
}

function decodedKey(text: string): Key {
  try {
    return parseKey(decodeURIComponent(text));
  } catch (cause) {
    if (!(cause instanceof URIError)) throw cause;
    throw new KvError("key_invalid", "Could not URL-decode key name", { cause });
  }
}

function metadataOf({ fields }: RequestHead): string | undefined {
  const field = fields.get(METADATA_HEADER);
  if (field === undefined) return undefined;
  // Fields are read as Latin-1; the binding wrote UTF-8.
  return parseMetadata(Buffer.from(field, "latin1").toString("utf8"));
}

function splitOnce(text: string, separator: string): [string, string] {
  const index = text.indexOf(separator);
  return index === -1 ? [text, ""] : [text.slice(0, index), text.slice(index + 1)];
}
