import { Key, NamespaceId } from "@atoll/kv-store";
import { z } from "zod";
import { BlobsRequest, EnrolRequest, EnrolResponse } from "../contract/index.ts";
import { PreviewQuery } from "../fleet/preview-routes.ts";
import { FleetStatus } from "../fleet/status.ts";
import { json, type Operations } from "./operation.ts";

/** What nodes call, and what shows the fleet to people. */
export const FLEET_OPERATIONS: Operations = {
  "POST /fleet/enrol": {
    summary: "A new node shows its join token and gets a credential",
    isOwn: true,
    credential: "none",
    body: json(EnrolRequest),
    answer: { kind: "json", schema: EnrolResponse },
    errors: ["join_token_invalid"],
  },
  "POST /fleet/blobs": {
    summary:
      "Code and files by their SHA-256, as records: 32 bytes of hash, 4 of size (all ones: none), the content",
    isOwn: true,
    credential: "nodeCredential",
    body: json(BlobsRequest),
    answer: { kind: "content", type: "application/octet-stream" },
    errors: ["blobs_unavailable"],
  },
  "GET /fleet/blobs/:hash": {
    summary: "Content by its SHA-256; with a query, the value of a key as long as it has that",
    isOwn: true,
    credential: "nodeCredential",
    query: z.object({ namespace: NamespaceId.optional(), key: Key.optional() }),
    answer: { kind: "content", type: "application/octet-stream" },
    errors: ["invalid_body", "blobs_unavailable", "blob_corrupt", "kv_unavailable"],
  },
  "PUT /fleet/blobs/:hash": {
    summary: "Stores the content of a value that is too large for the link",
    isOwn: true,
    credential: "nodeCredential",
    body: { kind: "content", type: "application/octet-stream" },
    answer: { kind: "nothing" },
    errors: ["invalid_body", "body_too_large", "blob_mismatch", "blobs_unavailable"],
  },
  "GET /fleet/previews": {
    summary: "The version that a preview's host names, signed, its secrets sealed to the node",
    isOwn: true,
    credential: "nodeCredential",
    query: PreviewQuery,
    answer: { kind: "content", type: "application/octet-stream" },
    errors: ["invalid_body", "secret_unreadable"],
  },
  "GET /": {
    summary: "The front page, for an API token as a bearer's or as the password of any name",
    isOwn: true,
    credential: "none",
    answer: { kind: "content", type: "text/html" },
    errors: ["unauthenticated", "rate_limited"],
  },
  "GET /console/status": {
    summary: "The state of the fleet, as far as the token's account may see it",
    isOwn: true,
    credential: "apiToken",
    answer: { kind: "json", schema: FleetStatus },
  },
  "GET /openapi.json": {
    summary: "This document",
    isOwn: true,
    credential: "none",
    answer: { kind: "json", schema: z.object({ openapi: z.string() }) },
  },
};

/** WebSockets: addresses that are no routes, because an upgrade comes by another way. */
export const UPGRADES: Operations = {
  "GET /fleet/connect": {
    summary:
      "A node's link: MessagePack of `MessageFromNode` up, of `MessageToNode` down, one message a frame",
    isOwn: true,
    credential: "nodeCredential",
    answer: { kind: "upgrade" },
  },
  "GET /tails/:secret": {
    summary: "A watcher's connection, at the address that opening a tail answered",
    credential: "none",
    answer: { kind: "upgrade" },
  },
};
