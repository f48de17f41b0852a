import fc from "fast-check";
import { expect, test } from "vitest";
import { Key, type KvOperation } from "./entry.ts";
import { KvError } from "./errors.ts";
import { LIMITS } from "./limits.ts";
import { decodeOperations, encodeOperation } from "./record-codec.ts";

const keys = fc
  .string({ unit: "grapheme", minLength: 1, maxLength: 40 })
  .filter((text) => Key.safeParse(text).success)
  .map((text) => Key.parse(text));
const values = fc.oneof(
  fc.uint8Array({ maxLength: 300 }).map((bytes) => ({ kind: "inline", bytes }) as const),
  fc
    .record({
      hash: fc.stringMatching(/^[0-9a-f]{64}$/),
      size: fc.integer({ min: 1, max: LIMITS.valueBytesMax }),
    })
    .map((blob) => ({ kind: "blob", ...blob }) as const),
);
const operations: fc.Arbitrary<KvOperation> = fc.oneof(
  keys.map((key) => ({ kind: "delete", key }) as const),
  fc.record(
    {
      kind: fc.constant("put" as const),
      key: keys,
      value: values,
      metadata: fc.json().filter((json) => Buffer.byteLength(json) <= LIMITS.metadataBytesMax),
      expiresAt: fc.integer({ min: 1, max: LIMITS.expirationSecondsMax }),
    },
    { requiredKeys: ["kind", "key", "value"] },
  ) as fc.Arbitrary<KvOperation>, // fast-check says "or undefined" of the optional ones
);

/** Operations with their bytes as plain arrays, since a Buffer never equals a Uint8Array in a test. */
function plain(operation: KvOperation): unknown {
  if (operation.kind === "delete" || operation.value.kind === "blob") return operation;
  return { ...operation, value: { kind: "inline", bytes: [...operation.value.bytes] } };
}

function outcomeOf(body: Uint8Array): string {
  try {
    for (const operation of decodeOperations(body, 20)) Key.parse(operation.key);
    return "operations";
  } catch (error) {
    return error instanceof KvError ? error.code : String(error);
  }
}

test("record codec: what is encoded is decoded to the same, in order", () => {
  fc.assert(
    fc.property(fc.array(operations, { maxLength: 20 }), (written) => {
      const body = Buffer.concat(written.map(encodeOperation));
      expect(decodeOperations(body, 20).map(plain)).toEqual(written.map(plain));
    }),
  );
});

test("record codec: whatever else arrives is refused or is operations, and never anything worse", () => {
  const bodies = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    // Nearly right: one byte of a sound body is another.
    fc
      .tuple(fc.array(operations, { minLength: 1, maxLength: 3 }), fc.nat(), fc.nat(255))
      .map(([written, position, byte]) => {
        const body = Buffer.concat(written.map(encodeOperation));
        body[position % body.length] = byte;
        return body;
      }),
  );
  fc.assert(
    fc.property(bodies, (body) => {
      expect(["operations", "protocol_violation"]).toContain(outcomeOf(body));
    }),
    { numRuns: 1_000 },
  );
});

test("record codec: a cut body, too many operations and a key that is not UTF-8 are refused", () => {
  const body = encodeOperation({ kind: "delete", key: Key.parse("key") });
  const bodies: ReadonlyArray<readonly [Uint8Array, number]> = [
    [body.subarray(0, -1), 1],
    [Buffer.concat([body, body]), 1],
    [Buffer.from(body).fill(0xff, 2, 5), 1],
  ];
  for (const [bytes, countMax] of bodies) {
    expect(() => decodeOperations(bytes, countMax)).toThrowError(
      expect.objectContaining({ code: "protocol_violation" }),
    );
  }
});
