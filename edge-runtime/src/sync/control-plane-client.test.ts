import { hash } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import {
  blobHead,
  BlobHash,
  BLOBS_PER_CALL_MAX,
  BlobsRequest,
  type BlobRecord,
} from "@atoll/control-plane/contract";
import { afterEach, expect, test } from "vitest";
import { ControlPlaneClient } from "./control-plane-client.ts";
import { ControlPlanes } from "./control-planes.ts";

const CONTENTS = Array.from({ length: 2 * BLOBS_PER_CALL_MAX + 1 }, (_, index) =>
  Buffer.from(`content ${index}`),
);
const HASHES = CONTENTS.map((content) => BlobHash.parse(hash("sha256", content, "hex")));

/** What a control plane does with one call; the last one is for all further calls. */
type Answer = (hashes: ReadonlyArray<BlobHash>, response: ServerResponse) => void;

const servers: Server[] = [];
/** The hashes that each call asked for. */
const asked: Array<ReadonlyArray<BlobHash>> = [];
afterEach(async () => {
  asked.length = 0;
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
    await once(server, "close");
  }
});

async function startPlane(...answers: ReadonlyArray<Answer>): Promise<string> {
  let calls = 0;
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const credential = request.headers.authorization;
    expect([request.method, request.url, credential]).toEqual([
      "POST",
      "/fleet/blobs",
      "Bearer me",
    ]);
    const { hashes } = BlobsRequest.parse(JSON.parse(await text(request)));
    asked.push(hashes);
    const answer = answers[Math.min(calls, answers.length - 1)];
    calls += 1;
    answer?.(hashes, response);
  };
  const server = createServer((request, response) => void handle(request, response));
  servers.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function recordOf(blob: BlobHash): Buffer {
  const content = CONTENTS[HASHES.indexOf(blob)] ?? Buffer.alloc(0);
  return Buffer.concat([blobHead(blob, content.length), content]);
}

/** Answers with the first of what was asked for. */
function some(count: number): Answer {
  return (hashes, response) => response.end(Buffer.concat(hashes.slice(0, count).map(recordOf)));
}

/** Answers with the first of them, and breaks off in the next. */
function cutAfter(count: number): Answer {
  return (hashes, response) => {
    const whole = Buffer.concat(hashes.slice(0, count + 1).map(recordOf));
    response.write(whole.subarray(0, whole.length - 3), () => response.destroy());
  };
}

async function fetchAll(
  urls: ReadonlyArray<string>,
  hashes: ReadonlyArray<BlobHash>,
): Promise<{ readonly records: ReadonlyArray<BlobRecord>; readonly fault: unknown }> {
  const controlPlanes = new ControlPlanes(urls);
  const client = new ControlPlaneClient({ controlPlanes, credential: "me", silenceMsMax: 200 });
  const records: BlobRecord[] = [];
  try {
    for await (const record of client.fetchBlobs(hashes)) records.push(record);
    return { records, fault: undefined };
  } catch (fault) {
    return { records, fault };
  }
}

function expectAll(records: ReadonlyArray<BlobRecord>, hashes: ReadonlyArray<BlobHash>): void {
  expect(records.map((record) => record.hash)).toEqual(hashes);
  for (const { hash: blob, content } of records) {
    expect(Buffer.from(content ?? []).equals(CONTENTS[HASHES.indexOf(blob)] as Buffer)).toBe(true);
  }
}

test("control plane client: asks for many blobs in as few calls as there may be", async () => {
  const { records, fault } = await fetchAll([await startPlane(some(Infinity))], HASHES);
  expect(fault).toBeUndefined();
  expectAll(records, HASHES);
  expect(asked.map((hashes) => hashes.length)).toEqual([BLOBS_PER_CALL_MAX, BLOBS_PER_CALL_MAX, 1]);
});

test("control plane client: asks again for what an answer did not have, ended or cut", async () => {
  const hashes = HASHES.slice(0, 10);
  const { records, fault } = await fetchAll(
    [await startPlane(some(2), cutAfter(3), some(10))],
    hashes,
  );
  expect(fault).toBeUndefined();
  expectAll(records, hashes);
  expect(asked).toEqual([hashes, hashes.slice(2), hashes.slice(5)]);
});

test("control plane client: asks another control plane for what one did not finish", async () => {
  const hashes = HASHES.slice(0, 10);
  const urls = [await startPlane(cutAfter(4)), await startPlane(some(10))];
  const { records, fault } = await fetchAll(urls, hashes);
  expect(fault).toBeUndefined();
  expectAll(records, hashes);
});

test("control plane client: asks another control plane for what one is silent about", async () => {
  const hashes = HASHES.slice(0, 10);
  const silent: Answer = () => undefined;
  const stuck: Answer = (all, response) =>
    response.write(Buffer.concat(all.slice(0, 4).map(recordOf)));
  for (const answer of [silent, stuck]) {
    const urls = [await startPlane(answer), await startPlane(some(10))];
    const { records, fault } = await fetchAll(urls, hashes);
    expect(fault).toBeUndefined();
    expectAll(records, hashes);
  }
});

test("control plane client: passes on that there is no such blob", async () => {
  const [missing, other] = HASHES as [BlobHash, BlobHash];
  const url = await startPlane((_, response) =>
    response.end(Buffer.concat([blobHead(missing, undefined), recordOf(other)])),
  );
  const { records } = await fetchAll([url], [missing, other]);
  expect(records[0]).toEqual({ hash: missing, content: undefined });
  expectAll(records.slice(1), [other]);
});

test.each([
  { what: "cut before any blob", answer: cutAfter(0), fault: /terminated|closed|aborted/ },
  { what: "without a blob", answer: some(0), fault: "without a blob" },
  {
    what: "with what nobody asked for",
    answer: (_: unknown, response: ServerResponse) => response.end(recordOf(HASHES[9] as BlobHash)),
    fault: `nobody asked for blob ${HASHES[9]}`,
  },
  {
    what: "that is a refusal",
    answer: (_: unknown, response: ServerResponse) => response.writeHead(503).end("{}"),
    fault: "the control plane answered 503",
  },
])("control plane client: an answer $what is no reason to ask for ever", async (row) => {
  const hashes = HASHES.slice(0, 5);
  const { records, fault } = await fetchAll([await startPlane(some(2), row.answer)], hashes);
  expectAll(records, hashes.slice(0, 2));
  expect(String(fault)).toMatch(row.fault);
  expect(asked).toHaveLength(2);
});

test("control plane client: who takes no more ends the answer", async () => {
  const closed = Promise.withResolvers<void>();
  const url = await startPlane((_, response) => {
    response.on("close", closed.resolve);
    response.write(recordOf(HASHES[0] as BlobHash));
  });
  const client = new ControlPlaneClient({
    controlPlanes: new ControlPlanes([url]),
    credential: "me",
  });
  for await (const record of client.fetchBlobs(HASHES.slice(0, 5))) {
    expect(record.hash).toBe(HASHES[0]);
    break;
  }
  await closed.promise;
});
