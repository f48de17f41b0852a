import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { blobHashOf, HashedContent } from "../blobs/blob-hash.ts";
import type { OpenBlob } from "../blobs/blob-store.ts";
import { DirectoryBlobStore } from "../blobs/directory-blob-store.ts";
import { BLOBS_PER_CALL_MAX, readBlobRecords, type BlobHash } from "../contract/index.ts";
import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { ControlPlaneApi } from "../test-support/control-plane-api.ts";
import { FollowingNode } from "../test-support/following-node.ts";
import { blobsAnswer } from "./blobs-answer.ts";

/** Blobs on disk, of which some can't be read. */
class FaultyBlobs extends DirectoryBlobStore {
  readonly failing = new Set<BlobHash>();
  opened = 0;

  override async open(hash: BlobHash): Promise<OpenBlob | undefined> {
    this.opened += 1;
    if (this.failing.has(hash)) throw new ControlPlaneError("blobs_unavailable", "out of order");
    return super.open(hash);
  }
}

const NOTHING = blobHashOf(Buffer.from("never stored"));
const SMALL_BYTES = LIMITS.blobWholeBytesMax;
const LARGE_BYTES = 1_000_000;

let directory: string;
let blobs: FaultyBlobs;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "atoll-blobs-"));
  blobs = new FaultyBlobs(directory);
});
afterEach(() => rm(directory, { recursive: true }));

async function store(count: number, sizeBytes: number): Promise<ReadonlyArray<BlobHash>> {
  const contents = Array.from({ length: count }, (_, index) =>
    Buffer.alloc(sizeBytes, `${sizeBytes} ${index}.`),
  );
  const hashed = contents.map((content) => HashedContent.of(content));
  await blobs.putAll([hashed]);
  return hashed.map(({ hash }) => hash);
}

/** The hashes of what came, and of what is not there. */
async function read(answer: AsyncIterable<Uint8Array>) {
  const came: BlobHash[] = [];
  const absent: BlobHash[] = [];
  for await (const { hash, content } of readBlobRecords(answer)) {
    if (content === undefined) absent.push(hash);
    else came.push(blobHashOf(content));
    expect(content === undefined || blobHashOf(content) === hash).toBe(true);
  }
  return { came: came.sort(), absent };
}

describe("blobs answer: ", () => {
  test("has what is there, small or large, and says what is not", async () => {
    const hashes = [
      ...(await store(40, 100)),
      ...(await store(1, SMALL_BYTES)),
      ...(await store(1, SMALL_BYTES + 1)),
      ...(await store(2, LARGE_BYTES)),
      ...(await store(1, 0)),
    ];
    const asked = [...hashes.slice(0, 20), NOTHING, ...hashes.slice(20)];
    const answer = await read(blobsAnswer(blobs, asked));
    expect(answer).toEqual({ came: hashes.toSorted(), absent: [NOTHING] });
  });

  test("ends early rather than have too much; a blob that is larger than that comes alone", async () => {
    const perAnswer = Math.floor(LIMITS.blobsAnswerBytesMax / LARGE_BYTES);
    const hashes = await store(perAnswer + 1, LARGE_BYTES);
    const [small = NOTHING] = await store(1, 10);
    expect((await read(blobsAnswer(blobs, hashes))).came).toHaveLength(perAnswer);
    const [huge = NOTHING] = await store(1, LIMITS.blobsAnswerBytesMax + 1);
    expect((await read(blobsAnswer(blobs, [huge, small]))).came).toEqual([small]);
    expect((await read(blobsAnswer(blobs, [huge]))).came).toEqual([huge]);
  });

  test("reads on only when what it has was taken, and closes what it was reading", async () => {
    const hashes = await store(4 * LIMITS.blobReadsAtOnce, 10);
    const small = blobsAnswer(blobs, hashes);
    await small.next();
    expect(blobs.opened).toBe(LIMITS.blobReadsAtOnce);
    await small.return(undefined);
    const [large = NOTHING] = await store(1, LARGE_BYTES);
    let closed = 0;
    const open = async (hash: BlobHash): Promise<OpenBlob | undefined> => {
      const blob = await blobs.open(hash);
      if (!(blob?.content instanceof ReadableStream)) return blob;
      const reader = blob.content.getReader();
      const content = new ReadableStream<Uint8Array>({
        async pull(controller) {
          const { value } = await reader.read();
          if (value !== undefined) controller.enqueue(value);
        },
        async cancel() {
          closed += 1;
          await reader.cancel();
        },
      });
      return { ...blob, content };
    };
    const pieces = blobsAnswer({ open }, [large]);
    await pieces.next();
    // Looked at first, to find that it is large.
    expect(closed).toBe(1);
    await pieces.return(undefined);
    expect(closed).toBe(2);
  });

  test("ends before what can't be read, which is thrown when nothing comes before it", async () => {
    const small = await store(LIMITS.blobReadsAtOnce + 1, 10);
    const broken = small.at(-1) ?? NOTHING;
    blobs.failing.add(broken);
    const { came } = await read(blobsAnswer(blobs, small));
    expect(came).toEqual(small.slice(0, -1).toSorted());
    await expect(read(blobsAnswer(blobs, [broken]))).rejects.toThrow("out of order");
    const large = await store(2, LARGE_BYTES);
    const opened = blobs.opened;
    const open = async (hash: BlobHash): Promise<OpenBlob | undefined> => {
      // After a look at each, and the first one.
      if (blobs.opened === opened + 3) blobs.failing.add(hash);
      return blobs.open(hash);
    };
    expect((await read(blobsAnswer({ open }, large))).came).toEqual([large[0]]);
  });
});

describe("POST /fleet/blobs: ", () => {
  let api: ControlPlaneApi;
  let node: FollowingNode;
  beforeEach(async () => {
    api = await ControlPlaneApi.start({
      openBlobs: (area) =>
        area === "blobs" ? blobs : new DirectoryBlobStore(join(directory, area)),
    });
    node = await FollowingNode.enrol(api, "fra-1");
  });
  afterEach(() => api.close());

  const ask = (body: unknown, headers = node.headers): Promise<Response> =>
    fetch(`${api.controlPlane.url}/fleet/blobs`, {
      method: "POST",
      headers,
      body: typeof body === "string" ? body : JSON.stringify(body),
    });

  test("a node gets as many as a call may ask for", async () => {
    const hashes = await store(BLOBS_PER_CALL_MAX - 1, 20);
    const response = await ask({ hashes: [...hashes, NOTHING] });
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("application/octet-stream");
    const answer = await read(response.body ?? new ReadableStream());
    expect(answer).toEqual({ came: hashes.toSorted(), absent: [NOTHING] });
  });

  test.each([
    ["no JSON", "hashes"],
    ["no list", {}],
    ["none", { hashes: [] }],
    ["one twice", { hashes: [NOTHING, NOTHING] }],
    ["another hash", { hashes: [NOTHING.slice(1)] }],
    ["a path", { hashes: ["../../secrets"] }],
    ["a field more", { hashes: [NOTHING], place: "here" }],
    [
      "too many",
      {
        hashes: Array.from({ length: BLOBS_PER_CALL_MAX + 1 }, (_, n) =>
          blobHashOf(Buffer.from([n, n >> 8])),
        ),
      },
    ],
  ])("a call with %s is refused, and reads nothing", async (_, body) => {
    const response = await ask(body);
    expect(response.status).toBe(400);
    expect(await response.text()).toContain("error: invalid_body");
    expect(blobs.opened).toBe(0);
  });

  test("a body that no list of hashes needs is refused before it is read", async () => {
    const response = await ask(" ".repeat(LIMITS.blobsRequestBytesMax + 1));
    expect(response.status).toBe(413);
    expect(await response.text()).toContain("error: body_too_large");
  });

  test("nobody but a node gets any", async () => {
    const hashes = await store(1, 10);
    for (const authorization of ["", "Bearer wrong", `Bearer ${api.tenants.ours.token}`]) {
      const response = await ask({ hashes }, { authorization });
      expect(response.status).toBe(401);
      expect(await response.text()).toContain("error: unauthenticated");
    }
    expect(blobs.opened).toBe(0);
  });

  test("blobs that can't be read now are refused as such, and sent when they can", async () => {
    const hashes = await store(3, 10);
    blobs.failing.add(hashes[1] ?? NOTHING);
    const refused = await ask({ hashes });
    expect(refused.status).toBe(503);
    expect(await refused.text()).toContain("error: blobs_unavailable");
    blobs.failing.clear();
    expect((await read((await ask({ hashes })).body ?? new ReadableStream())).came).toHaveLength(3);
  });
});
