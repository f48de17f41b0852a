import { Key, KvError, NamespaceId, type Revision } from "@atoll/kv-store";
import { Hono } from "hono";
import { z } from "zod";
import type { BlobStore } from "../blobs/blob-store.ts";
import {
  BlobHash,
  BlobsRequest,
  EnrolRequest,
  KV_REVISION_HEADER,
  publicFleetKey,
  type EnrolResponse,
} from "../contract/index.ts";
import { ControlPlaneError } from "../errors.ts";
import { bearerToken, callerOf } from "../http/authentication.ts";
import { limitBody, readJson } from "../http/body.ts";
import type { ApiEnvironment } from "../http/request-context.ts";
import type { ValueStore } from "../kv-namespaces/value-store.ts";
import { LIMITS } from "../limits.ts";
import type { NodesService } from "../nodes/service.ts";
import { blobsAnswer } from "./blobs-answer.ts";

export interface FleetRoutesOptions {
  readonly nodes: NodesService;
  /** Code and files of workers. */
  readonly blobs: BlobStore;
  readonly values: ValueStore;
  /** Ed25519 private key, PEM. */
  readonly fleetKey: string;
}

/** `/fleet`: how a node enrols, and the content that is too large for its connection. */
export function createFleetRoutes({
  nodes,
  blobs,
  values,
  fleetKey,
}: FleetRoutesOptions): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();

  routes.post("/enrol", limitBody(LIMITS.enrolBodyBytesMax), async (context) => {
    const request = await readJson(context, EnrolRequest);
    const { credential } = await nodes.enrol(request, callerOf(context));
    return context.json({ credential, fleetKey: publicFleetKey(fleetKey) } satisfies EnrolResponse);
  });

  routes.use("/blobs/*", async (context, next) => {
    const credential = bearerToken(context.req.header("authorization"));
    const node = credential === undefined ? undefined : await nodes.authenticate(credential);
    if (node === undefined) {
      throw new ControlPlaneError("unauthenticated", "blobs are for enrolled nodes");
    }
    await next();
  });

  routes.post("/blobs", limitBody(LIMITS.blobsRequestBytesMax), async (context) => {
    const { hashes } = await readJson(context, BlobsRequest);
    const pieces = blobsAnswer(blobs, hashes);
    // Before the answer begins: what keeps all of them from being read is told as a refusal.
    const first = await pieces.next();
    if (first.done === true) return context.body(null, 200, OCTETS);
    return context.body(streamOf(first.value, pieces), 200, OCTETS);
  });

  routes.get("/blobs/:hash", async (context) => {
    const hash = parseHash(context.req.param("hash"));
    const place = parsePlace(context.req.query());
    if (place !== undefined) {
      const found = await valueAt(values, place, hash);
      if (found instanceof Uint8Array) return context.body(Uint8Array.from(found), 200, OCTETS);
      // Where the key has another one: the node waits until it is as far.
      if (found !== undefined) context.header(KV_REVISION_HEADER, String(found));
      return context.body(null, 404);
    }
    // Whoever fetches it verifies it.
    const blob = (await blobs.open(hash)) ?? (await values.open(hash));
    if (blob === undefined) return context.body(null, 404);
    const length = { "content-length": String(blob.sizeBytes) };
    return context.body(blob.content, 200, { ...OCTETS, ...length });
  });

  routes.put("/blobs/:hash", limitBody(LIMITS.blobBytesMax), async (context) => {
    const hash = parseHash(context.req.param("hash"));
    // Nodes have nothing else to store.
    await values.put(hash, context.req.raw.body ?? new Uint8Array());
    return context.body(null, 204);
  });

  return routes;
}

/** A piece is made when it is asked for. */
function streamOf(
  first: Uint8Array,
  others: AsyncGenerator<Uint8Array>,
): ReadableStream<Uint8Array> {
  return new ReadableStream(
    {
      start: (controller) => controller.enqueue(first),
      async pull(controller) {
        const { value, done } = await others.next();
        if (done === true) controller.close();
        else controller.enqueue(value);
      },
      cancel: async () => void (await others.return(undefined)),
    },
    { highWaterMark: 1 },
  );
}

const OCTETS = { "content-type": "application/octet-stream" } as const;

// The key whose value is wanted, when it is a small one.
const Place = z.object({ namespace: NamespaceId, key: Key });

function parsePlace(query: Record<string, string>): z.infer<typeof Place> | undefined {
  if (Object.keys(query).length === 0) return undefined;
  const place = Place.safeParse(query);
  if (!place.success) throw new ControlPlaneError("invalid_body", "the query names no key");
  return place.data;
}

/** The value, or the revision at which the key has another; `undefined` without the namespace. */
async function valueAt(
  values: ValueStore,
  place: z.infer<typeof Place>,
  hash: BlobHash,
): Promise<Uint8Array | Revision | undefined> {
  try {
    // The revision is read behind the value: what replaced it is in the history up to there.
    return (await values.valueOf(place, hash)) ?? (await values.revision(place.namespace));
  } catch (error) {
    if (error instanceof KvError && error.code === "namespace_not_found") return undefined;
    throw error;
  }
}

function parseHash(text: string): BlobHash {
  const hash = BlobHash.safeParse(text);
  if (!hash.success) throw new ControlPlaneError("invalid_body", `'${text}' is not a blob hash`);
  return hash.data;
}
