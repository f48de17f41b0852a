import { Key } from "@atoll/kv-store";
import { z } from "zod";
import { BulkEntry, BulkKey, ListQuery, WriteQuery } from "../kv-namespaces/entry-requests.ts";
import {
  AccountKvStatus,
  CheckQuery,
  ExportQuery,
  ImportResult,
  NamespaceCheck,
  RestoreRequest,
  RestoreResult,
} from "../kv-namespaces/management-schemas.ts";
import { NamespaceQuery } from "../kv-namespaces/schemas.ts";
import type { ControlPlaneErrorCode } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import * as answers from "./answers.ts";
import { json, result, type Operations } from "./operation.ts";

const KV = "/client/v4/accounts/:account/storage/kv";
const NAMESPACES = `${KV}/namespaces`;
const NAMESPACE = `${NAMESPACES}/:namespace`;
const KEY = ":key{[\\s\\S]+}";

// What is parsed takes any title, to refuse it in Cloudflare's words.
const Title = z.strictObject({ title: z.string().min(1).max(LIMITS.namespaceTitleCharactersMax) });

const STORE_ERRORS = [
  "kv_unavailable",
  "busy",
] as const satisfies ReadonlyArray<ControlPlaneErrorCode>;

const KEY_ERRORS = [
  ...STORE_ERRORS,
  "kv_key_invalid",
  "kv_key_too_long",
] as const satisfies ReadonlyArray<ControlPlaneErrorCode>;

const WRITE_ERRORS = [
  ...KEY_ERRORS,
  "kv_value_invalid",
  "kv_value_too_large",
  "kv_metadata_invalid",
  "kv_expiration_invalid",
  "kv_expiration_ttl_invalid",
  "kv_storage_exceeded",
  "kv_rate_exceeded",
  "kv_daily_writes_exceeded",
  "blobs_unavailable",
] as const satisfies ReadonlyArray<ControlPlaneErrorCode>;

const BULK_ERRORS = [
  "kv_bulk_invalid",
  "kv_bulk_too_large",
] as const satisfies ReadonlyArray<ControlPlaneErrorCode>;

/** Key-value namespaces, what is in them, and what looks after them. */
export const KV_OPERATIONS: Operations = {
  [`GET ${NAMESPACES}`]: {
    summary: "The account's namespaces",
    query: NamespaceQuery,
    answer: result(z.array(answers.PresentedNamespace)),
  },
  [`POST ${NAMESPACES}`]: {
    summary: "Makes a namespace",
    body: json(Title),
    answer: result(answers.PresentedNamespace),
    errors: [
      ...STORE_ERRORS,
      "namespace_title_invalid",
      "namespace_title_taken",
      "namespaces_exceeded",
    ],
  },
  [`GET ${NAMESPACE}`]: { summary: "A namespace", answer: result(answers.PresentedNamespace) },
  [`PUT ${NAMESPACE}`]: {
    summary: "Gives a namespace another title",
    body: json(Title),
    answer: result(answers.PresentedNamespace),
    errors: ["namespace_title_invalid", "namespace_title_taken"],
  },
  [`DELETE ${NAMESPACE}`]: {
    summary: "Deletes a namespace and all that is in it",
    answer: result(z.null()),
    errors: [...STORE_ERRORS, "namespace_bound"],
  },
  [`PUT ${NAMESPACE}/values/${KEY}`]: {
    summary: "Writes a key: its value, or a form with the parts `value` and `metadata`",
    query: WriteQuery,
    body: { kind: "content", type: "application/octet-stream" },
    answer: result(z.null()),
    errors: [...WRITE_ERRORS, "invalid_multipart"],
  },
  [`GET ${NAMESPACE}/values/${KEY}`]: {
    summary: "The value of a key",
    answer: { kind: "content", type: "application/octet-stream" },
    errors: [...KEY_ERRORS, "kv_key_not_found", "kv_daily_reads_exceeded"],
  },
  [`DELETE ${NAMESPACE}/values/${KEY}`]: {
    summary: "Deletes a key",
    answer: result(z.null()),
    errors: [...KEY_ERRORS, "kv_rate_exceeded", "kv_daily_writes_exceeded"],
  },
  [`GET ${NAMESPACE}/metadata/${KEY}`]: {
    summary: "The metadata of a key",
    answer: result(z.json()),
    errors: [...KEY_ERRORS, "kv_key_not_found", "kv_daily_reads_exceeded"],
  },
  [`GET ${NAMESPACE}/keys`]: {
    summary: "Keys, in the order of their bytes",
    query: ListQuery,
    answer: result(z.array(answers.PresentedKey)),
    errors: [...KEY_ERRORS, "kv_limit_invalid", "kv_cursor_invalid", "kv_daily_lists_exceeded"],
  },
  [`PUT ${NAMESPACE}/bulk`]: {
    summary: "Writes keys, all or none",
    body: json(z.array(BulkEntry)),
    answer: result(answers.BulkOutcome),
    errors: [...WRITE_ERRORS, ...BULK_ERRORS],
  },
  [`POST ${NAMESPACE}/bulk/get`]: {
    summary: "Values of several keys",
    body: json(
      z.object({
        keys: z.array(Key).min(1),
        type: z.enum(["text", "json"]).optional(),
        withMetadata: z.boolean().optional(),
        cacheTtl: z.number().optional(),
      }),
    ),
    answer: result(z.object({ values: z.record(z.string(), z.json()) })),
    errors: [...KEY_ERRORS, ...BULK_ERRORS, "kv_daily_reads_exceeded"],
  },
  ...Object.fromEntries(
    [`DELETE ${NAMESPACE}/bulk`, `POST ${NAMESPACE}/bulk/delete`].map((address) => [
      address,
      {
        summary: "Deletes keys, all or none",
        body: json(z.array(BulkKey)),
        answer: result(answers.BulkOutcome),
        errors: [
          ...KEY_ERRORS,
          ...BULK_ERRORS,
          "kv_rate_exceeded",
          "kv_daily_writes_exceeded",
        ] as const,
      },
    ]),
  ),
  [`GET ${KV}/status`]: {
    summary: "All namespaces, at their origin and on the nodes, and what the account may have",
    isOwn: true,
    answer: result(AccountKvStatus),
    errors: STORE_ERRORS,
  },
  [`GET ${NAMESPACE}/status`]: {
    summary: "A namespace, at its origin and on the nodes",
    isOwn: true,
    answer: result(AccountKvStatus),
    errors: STORE_ERRORS,
  },
  [`GET ${NAMESPACE}/check`]: {
    summary: "Compares a namespace with itself, its large values and its copies",
    isOwn: true,
    query: CheckQuery,
    answer: result(NamespaceCheck),
    errors: STORE_ERRORS,
  },
  [`GET ${NAMESPACE}/export`]: {
    summary: "A namespace as lines of JSON, as it is or was",
    isOwn: true,
    query: ExportQuery,
    answer: { kind: "content", type: "application/x-ndjson" },
    errors: [...STORE_ERRORS, "kv_moment_unknown", "kv_daily_reads_exceeded"],
  },
  [`POST ${NAMESPACE}/import`]: {
    summary: "Writes the entries of a part of an export, all or none",
    isOwn: true,
    body: { kind: "content", type: "application/x-ndjson" },
    answer: result(ImportResult),
    errors: [...WRITE_ERRORS, "kv_bulk_too_large", "kv_import_invalid"],
  },
  [`POST ${NAMESPACE}/restore`]: {
    summary: "Takes a namespace back to a moment, part by part",
    isOwn: true,
    body: json(RestoreRequest),
    answer: result(RestoreResult),
    errors: [...WRITE_ERRORS, "kv_moment_unknown"],
  },
};
