import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { askDns } from "./ask-dns.ts";
import { EgressPolicy, type Resolve } from "./egress-policy.ts";

const IPV4 = 1;
const IPV6 = 28;
const PUBLIC_IPV6 = Buffer.from("26064700000000000000000000001111", "hex");

/** What the server says to questions of one type: addresses, or nothing at all. */
type Answers = Readonly<Record<number, ReadonlyArray<Uint8Array> | "silence">>;

describe("addresses from DNS", () => {
  const answers = new Map<string, Answers>();
  let server: Socket;
  let resolve: Resolve;
  beforeEach(async () => {
    answers.clear();
    server = createSocket("udp4").bind(0, "127.0.0.1");
    await once(server, "listening");
    resolve = askDns([`127.0.0.1:${server.address().port}`]);
    server.on("message", (question, { port, address }) => {
      const found = answers.get(nameIn(question))?.[typeIn(question)] ?? [];
      if (found !== "silence") server.send(answerTo(question, found), port, address);
    });
  });
  afterEach(() => void server.close());

  test("addresses of both families come together", async () => {
    answers.set("both.test", { [IPV4]: [Buffer.of(192, 0, 2, 1)], [IPV6]: [PUBLIC_IPV6] });
    expect(await resolve("both.test")).toEqual([
      { address: "192.0.2.1", family: 4 },
      { address: "2606:4700::1111", family: 6 },
    ]);
  });

  test("a name without addresses has none, and the reason names it", async () => {
    await expect(resolve("none.test")).rejects.toThrow(/ENODATA none\.test/);
  });

  test("servers that never answer for one family cost nobody the other", async () => {
    answers.set("half.test", { [IPV4]: [Buffer.of(192, 0, 2, 1)], [IPV6]: "silence" });
    expect(await resolve("half.test")).toEqual([{ address: "192.0.2.1", family: 4 }]);
  });

  test("names whose servers never answer keep no other name waiting", async () => {
    answers.set("answered.test", { [IPV4]: [Buffer.of(192, 0, 2, 1)] });
    const silent = Array.from({ length: 50 }, (_, index) => `silent-${index}.test`);
    for (const name of silent) answers.set(name, { [IPV4]: "silence", [IPV6]: "silence" });
    const policy = new EgressPolicy({ resolve });
    let unresolved = silent.length;
    const failures = silent.map(async (name) => {
      await expect(policy.resolve(name)).rejects.toMatchObject({ code: "egress_unreachable" });
      unresolved -= 1;
    });
    expect(await policy.resolve("answered.test")).toHaveLength(1);
    expect(unresolved).toBe(silent.length);
    const begunMs = performance.now();
    await Promise.all(failures);
    expect(performance.now() - begunMs).toBeLessThan(LIMITS.egressResolveMs);
  });
});

function nameIn(question: Buffer): string {
  const labels: string[] = [];
  for (let at = 12; question[at]; at += 1 + (question[at] ?? 0)) {
    labels.push(question.toString("latin1", at + 1, at + 1 + (question[at] ?? 0)));
  }
  return labels.join(".").toLowerCase();
}

function typeIn(question: Buffer): number {
  return question.readUInt16BE(question.indexOf(0, 12) + 1);
}

/** RFC 1035, section 4. */
function answerTo(question: Buffer, addresses: ReadonlyArray<Uint8Array>): Buffer {
  const header = Buffer.from([...question.subarray(0, 2), 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
  header.writeUInt16BE(addresses.length, 6);
  const asked = question.subarray(12, question.indexOf(0, 12) + 5);
  const records = addresses.map((address) => {
    const head = Buffer.from([0xc0, 0x0c, 0, typeIn(question), 0, 1, 0, 0, 0, 60, 0]);
    return Buffer.concat([head, Buffer.of(address.length), address]);
  });
  return Buffer.concat([header, asked, ...records]);
}
