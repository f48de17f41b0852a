import {
  checkValueSize,
  parseBulkGet,
  type DailyUse,
  type Key,
  type KvListing,
  type NamespaceId,
} from "@atoll/kv-store";
import { Hono, type Context } from "hono";
import { ControlPlaneError } from "../errors.ts";
import { parseInput } from "../http/body.ts";
import { success } from "../http/envelope.ts";
import { allowNamespace, hasRole } from "../http/permissions.ts";
import type { ApiEnvironment } from "../http/request-context.ts";
import { LIMITS } from "../limits.ts";
import type { BodyBudget } from "./body-budget.ts";
import {
  parseBulkDelete,
  parseBulkWrite,
  parseEncodedKey,
  parseEntryExpiration,
  parseListQuery,
  WriteQuery,
} from "./entry-requests.ts";
import type { KvNamespaceRoutesOptions } from "./routes.ts";
import { isValueForm, parseValueForm, type SentValue } from "./value-form.ts";

// The router matches decoded paths: a key may contain slashes and line breaks.
const KEY = ":key{[\\s\\S]+}";

type EntryContext = Context<ApiEnvironment>;

/** Keys and values of the namespace that the path before names as `:namespace`. */
export function createEntryRoutes(
  options: KvNamespaceRoutesOptions,
  bodies: BodyBudget,
): Hono<ApiEnvironment> {
  const { namespaces, entries, charges } = options;
  const routes = new Hono<ApiEnvironment>();

  async function namespaceOf(context: EntryContext): Promise<NamespaceId> {
    const id = context.req.param("namespace") ?? "";
    return (await namespaces.get(context.var.principal, id)).id;
  }

  /** Counts what the call does for the account's day, or refuses it. */
  function charge(context: EntryContext, use: DailyUse, count = 1): Promise<void> {
    return charges.charge(context.var.principal.account, { use, count });
  }

  routes.put(`/values/${KEY}`, allowNamespace("deployer"), async (context) => {
    const namespace = await namespaceOf(context);
    const key = keyOf(context);
    const { expiration, expiration_ttl } = parseInput(WriteQuery, context.req.query(), "query");
    const expiresAt = parseEntryExpiration(
      { expiration, expirationTtl: expiration_ttl },
      entries.nowMs(),
    );
    await readValue(bodies, context, async (sent) => {
      await entries.put(namespace, [{ key, expiresAt, ...sent }]);
    });
    return context.json(success(null));
  });

  routes.get(`/values/${KEY}`, allowNamespace("deployer"), async (context) => {
    const namespace = await namespaceOf(context);
    const key = keyOf(context);
    await charge(context, "read");
    const { entry, value } = await entries.get(namespace, key);
    return context.body(Uint8Array.from(value), 200, {
      "content-type": "application/octet-stream",
      ...(entry.expiresAt === undefined ? {} : { expiration: String(entry.expiresAt) }),
    });
  });

  routes.delete(`/values/${KEY}`, allowNamespace("deployer"), async (context) => {
    const namespace = await namespaceOf(context);
    await entries.remove(namespace, [keyOf(context)]);
    return context.json(success(null));
  });

  routes.get(`/metadata/${KEY}`, allowNamespace("deployer"), async (context) => {
    const namespace = await namespaceOf(context);
    const key = keyOf(context);
    await charge(context, "read");
    const { metadata } = await entries.describe(namespace, key);
    return context.json(success(metadata === undefined ? null : parseStored(metadata)));
  });

  routes.get("/keys", allowNamespace("viewer"), async (context) => {
    const namespace = await namespaceOf(context);
    const query = parseListQuery(context.req.query());
    const page = await entries.list(namespace, query);
    // Only now it is known whether the cursor was one: what is wrong does not count.
    await charge(context, "list");
    const info = { count: page.entries.length, cursor: page.cursor ?? "" };
    // Metadata is data like a value, and who may not read these sees names alone.
    const isWhole = hasRole(context.var.principal, "deployer");
    const rows = isWhole ? page.entries : page.entries.map(withoutMetadata);
    return context.json(success(rows.map(presentKey), info));
  });

  routes.put("/bulk", allowNamespace("deployer"), async (context) => {
    const namespace = await namespaceOf(context);
    const count = await readText(bodies, context, LIMITS.kvBulkBodyBytesMax, async (body) => {
      const writes = parseBulkWrite(body, entries.nowMs());
      await entries.put(namespace, writes);
      return writes.length;
    });
    return context.json(success({ successful_key_count: count, unsuccessful_keys: [] }));
  });

  routes.post("/bulk/get", allowNamespace("deployer"), async (context) => {
    const namespace = await namespaceOf(context);
    const values = await readText(bodies, context, LIMITS.kvKeysBodyBytesMax, async (body) => {
      const bulk = parseBulkGet(body);
      await charge(context, "read", bulk.keys.length);
      return entries.getMany(namespace, bulk);
    });
    return context.json(success({ values }));
  });

  const removeMany = async (context: EntryContext): Promise<Response> => {
    const namespace = await namespaceOf(context);
    const count = await readText(bodies, context, LIMITS.kvKeysBodyBytesMax, async (body) => {
      const keys = parseBulkDelete(body);
      await entries.remove(namespace, keys);
      return keys.length;
    });
    return context.json(success({ successful_key_count: count, unsuccessful_keys: [] }));
  };
  routes.delete("/bulk", allowNamespace("deployer"), removeMany);
  routes.post("/bulk/delete", allowNamespace("deployer"), removeMany);

  return routes;
}

/** The key as it was encoded: the router's own decoding leaves bad encodings as they are. */
function keyOf(context: EntryContext): Key {
  const { pathname } = new URL(context.req.url);
  const encoded = /\/kv\/namespaces\/[^/]+\/(?:values|metadata)\/(.*)$/s.exec(pathname)?.[1];
  return parseEncodedKey(encoded ?? "");
}

/** Reads what a single write sends, either the bare value or a form with metadata. */
async function readValue(
  bodies: BodyBudget,
  context: EntryContext,
  use: (sent: SentValue) => Promise<void>,
): Promise<void> {
  const contentType = context.req.header("content-type");
  await bodies.read(context.req.raw, LIMITS.kvValueFormBytesMax, async (body) => {
    if (body.kind === "too_long") return checkValueSize(body.bytes);
    if (contentType !== undefined && isValueForm(contentType)) {
      return use(await parseValueForm(body.content, contentType));
    }
    checkValueSize(body.content.length);
    return use({ value: body.content, metadata: undefined });
  });
}

function readText<Result>(
  bodies: BodyBudget,
  context: EntryContext,
  bytesMax: number,
  use: (text: string) => Promise<Result>,
): Promise<Result> {
  return bodies.read(context.req.raw, bytesMax, (body) => {
    if (body.kind === "content") return use(decodeUtf8(body.content));
    throw new ControlPlaneError(
      "kv_bulk_too_large",
      `The bulk call's body has ${body.bytes} bytes or more, over the limit of ${bytesMax}`,
    );
  });
}

function decodeUtf8(content: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(content);
  } catch (cause) {
    const message = "The bulk call's body is not valid UTF-8";
    throw new ControlPlaneError("kv_bulk_invalid", message, { cause });
  }
}

function withoutMetadata({ metadata: _metadata, ...listing }: KvListing): KvListing {
  return listing;
}

function presentKey(listing: KvListing): object {
  return {
    name: listing.key,
    ...(listing.expiresAt === undefined ? {} : { expiration: listing.expiresAt }),
    ...(listing.metadata === undefined ? {} : { metadata: parseStored(listing.metadata) }),
  };
}

/** Metadata was checked to be JSON when it was written. */
function parseStored(metadata: string): unknown {
  return JSON.parse(metadata);
}
