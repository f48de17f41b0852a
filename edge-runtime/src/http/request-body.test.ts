import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { RequestBody } from "./request-body.ts";

const server = createServer({ requestTimeout: 0 });
let client: Socket;

beforeEach(async () => {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  client = connect((server.address() as AddressInfo).port, "127.0.0.1");
});
afterEach(async () => {
  client.destroy();
  server.close();
  await once(server, "close");
});

async function arrival(firstBytes: string): Promise<{
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}> {
  client.write(`POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n${firstBytes}`);
  const [request, response] = (await once(server, "request")) as [IncomingMessage, ServerResponse];
  return { request, response };
}

test("request body: a sender that stalls is reported, a reader that is slow is not", async () => {
  let stalls = 0;
  const { promise: stalled, resolve } = Promise.withResolvers<void>();
  const body = new RequestBody(await arrival("12345"), {
    expectsContinue: false,
    idleMs: 30,
    onStalled: () => {
      stalls += 1;
      resolve();
    },
  });
  const pieces = body[Symbol.asyncIterator]();
  expect((await pieces.next()).value?.toString()).toBe("12345");
  // The reader takes longer than the sender may.
  await new Promise((passed) => setTimeout(passed, 100));
  expect(stalls).toBe(0);
  const next = pieces.next();
  await stalled;
  client.write("67890");
  expect((await next).value?.toString()).toBe("67890");
  expect((await pieces.next()).done).toBe(true);
});

test("request body: what is discarded leaves the connection to the next request", async () => {
  const { request, response } = await arrival("12345");
  const body = new RequestBody({ request, response }, { expectsContinue: false });
  const pieces = body[Symbol.asyncIterator]();
  await pieces.next();
  response.end();
  body.discard();
  // The receiver that is gone asks for one more piece before it notices.
  const last = pieces.next();
  client.write("67890");
  expect((await last).done).toBe(true);
  await arrival("1234567890");
});

test("request body: nothing of it is read before it is asked for", async () => {
  const { request, response } = await arrival("12345");
  const body = new RequestBody({ request, response }, { expectsContinue: true });
  expect(body.isHeldBack).toBe(true);
  expect(request.readableFlowing).toBe(null);
  const first = body[Symbol.asyncIterator]().next();
  expect((await first).value?.toString()).toBe("12345");
  expect(body.isHeldBack).toBe(false);
});
