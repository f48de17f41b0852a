import { expect, test } from "vitest";
import { z } from "zod";
import { decodeMessage, encodeLongMessage } from "./wire.ts";

test.each([0, 1, 3, 1_000])(
  "wire: a message with a list of %i that is encoded in pieces is the same",
  async (count) => {
    const items = Array.from({ length: count }, (_, index) => index);
    const toWire = (item: number) => ({ name: `worker ${item}`, bytes: Uint8Array.of(1, 2) });
    const list = { name: "workers", items, toWire, pieceItems: 3 };
    const bytes = await encodeLongMessage({ kind: "snapshot", revision: 2 ** 40 }, list);
    expect(decodeMessage(z.unknown(), bytes)).toEqual({
      ...{ kind: "snapshot", revision: 2 ** 40 },
      workers: items.map((item) => ({
        name: `worker ${item}`,
        bytes: Buffer.from(Uint8Array.of(1, 2)),
      })),
    });
  },
);

test("wire: others have their turn while a long message is encoded", async () => {
  let turns = 0;
  const counting = setInterval(() => (turns += 1), 0);
  const items = Array.from({ length: 2_000 }, () => "x".repeat(5_000));
  const toWire = (item: string) => item;
  await encodeLongMessage({}, { name: "workers", items, toWire, pieceItems: 50 });
  clearInterval(counting);
  expect(turns).toBeGreaterThan(0);
});
