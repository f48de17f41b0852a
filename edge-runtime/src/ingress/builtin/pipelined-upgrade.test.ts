import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { IngressHarness, until } from "../conformance/ingress-harness.ts";
import { BuiltinIngress } from "./builtin-ingress.ts";

let harness: IngressHarness;
beforeEach(async () => {
  harness = await IngressHarness.open({
    keepsHeaderCase: true,
    open: (options) => BuiltinIngress.open({ ...options, port: 0, log: pino({ level: "silent" }) }),
  });
});
afterEach(() => harness.dispose());

const HOST = "host: test.localhost";
const GET = `GET / HTTP/1.1\r\n${HOST}\r\n\r\n`;

test.each([
  ["a handshake", `GET / HTTP/1.1\r\n${HOST}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n`],
  ["CONNECT", `CONNECT test.localhost:80 HTTP/1.1\r\n${HOST}\r\n\r\n`],
])(
  "built-in ingress: %s behind requests in flight ends these, and each is told of",
  async (_, last) => {
    let reached = 0;
    await harness.serve((__, response) => {
      reached += 1;
      // More than anything on the way takes, and without an end.
      response.write(Buffer.alloc(4 * 1024 * 1024));
    });
    const socket = await harness.dial();
    socket.write(GET.repeat(3));
    await until(() => reached === 3, "the requests to arrive");
    socket.write(last);
    socket.resume();
    await until(() => socket.destroyed, "the connection to end");
    await until(() => harness.served.length === 3, "the requests to be told of");
    expect((await harness.ingress.counters()).inFlight).toBe(0);
  },
);
