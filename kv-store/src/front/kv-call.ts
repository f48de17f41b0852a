import type { IncomingMessage } from "node:http";
import type { Key, ListOptions } from "../entry.ts";
import { KvError } from "../errors.ts";
import {
  checkCacheTtl,
  checkValueSize,
  parseExpiration,
  parseKey,
  parseListLimit,
  parseMetadata,
  parsePrefix,
} from "../validation.ts";

/** What the binding asks for. Bodies are read later. */
export type KvCall =
  | { readonly kind: "get"; readonly key: Key }
  | { readonly kind: "bulk-get" }
  | {
      readonly kind: "put";
      readonly key: Key;
      readonly metadata?: string;
      /** Seconds since the epoch. */
      readonly expiresAt?: number;
    }
  | { readonly kind: "delete"; readonly key: Key }
  | { readonly kind: "list"; readonly options: ListOptions };

/** Carries a value's metadata as JSON in both directions. */
export const METADATA_HEADER = "cf-kv-metadata";

/** Parses the head of a request of workerd's KV binding. Fails with what Workers KV would refuse. */
export function parseCall(request: IncomingMessage, nowMs: number): KvCall {
  const { method } = request;
  const [path, search] = splitOnce(request.url ?? "", "?");
  const query = new URLSearchParams(search);
  if (method === "GET" && path === "/") return parseList(query);
  if (method === "POST" && path === "/bulk/get") return { kind: "bulk-get" };
  if (method === "GET") return parseGet(path, query);
  if (method === "PUT") return parsePut(request, { path, query, nowMs });
  if (method === "DELETE") return { kind: "delete", key: keyOf(path, query) };
  throw new KvError("request_invalid", `${method} ${path.slice(0, 40)} is no call of the binding`);
}

function parseGet(path: string, query: URLSearchParams): KvCall {
  const cacheTtl = query.get("cache_ttl");
  if (cacheTtl !== null) checkCacheTtl(cacheTtl);
  return { kind: "get", key: keyOf(path, query) };
}

function parsePut(
  request: IncomingMessage,
  head: { readonly path: string; readonly query: URLSearchParams; readonly nowMs: number },
): KvCall {
  const { path, query, nowMs } = head;
  const key = keyOf(path, query);
  const expiration = query.get("expiration");
  const expirationTtl = query.get("expiration_ttl");
  const expiresAt = parseExpiration({ expiration, expirationTtl }, nowMs);
  const metadata = metadataOf(request);
  // Without a length the body is measured as it comes.
  checkValueSize(Number(request.headers["content-length"] ?? 0));
  return {
    kind: "put",
    key,
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
  return { kind: "list", options };
}

function keyOf(path: string, query: URLSearchParams): Key {
  const text = path.slice(1);
  if (query.get("urlencoded")?.toLowerCase() !== "true") return parseKey(text);
  try {
    return parseKey(decodeURIComponent(text));
  } catch (cause) {
    if (!(cause instanceof URIError)) throw cause;
    throw new KvError("key_invalid", "Could not URL-decode key name", { cause });
  }
}

function metadataOf(request: IncomingMessage): string | undefined {
  const header = request.headers[METADATA_HEADER];
  if (typeof header !== "string") return undefined;
  // Node reads header bytes as Latin-1; the binding wrote UTF-8.
  return parseMetadata(Buffer.from(header, "latin1").toString("utf8"));
}

function splitOnce(text: string, separator: string): [string, string] {
  const index = text.indexOf(separator);
  return index === -1 ? [text, ""] : [text.slice(0, index), text.slice(index + 1)];
}
