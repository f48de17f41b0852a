import { expect, test } from "vitest";
import { LIMITS } from "../limits.ts";
import { parseBindings } from "./binding-requests.ts";
import { resolveBindings } from "./bindings.ts";

test("bindings: each type becomes what nodes read, with secrets apart", () => {
  const id = "a".repeat(32);
  const { bindings, secrets, inherited } = parseBindings([
    { type: "plain_text", name: "T", text: "" },
    { type: "json", name: "J", json: null },
    { type: "secret_text", name: "S", text: "1" },
    { type: "kv_namespace", name: "KV", namespace_id: id, raw: false },
    { type: "kv_namespace", name: "KV_HTTP", namespace_id: id, raw: true },
    { type: "service", name: "X", service: "x", environment: "production", props: { a: 1 } },
    { type: "version_metadata", name: "V" },
    { type: "inherit", name: "I" },
  ]);
  expect(bindings).toEqual([
    { type: "plain_text", name: "T", text: "" },
    { type: "json", name: "J", json: null },
    { type: "secret_text", name: "S" },
    { type: "kv_namespace", name: "KV", namespace_id: id },
    { type: "kv_namespace", name: "KV_HTTP", namespace_id: id, raw: true },
    { type: "service", name: "X", service: "x", props: { a: 1 } },
    { type: "version_metadata", name: "V" },
  ]);
  expect({ secrets, inherited }).toEqual({ secrets: { S: "1" }, inherited: ["I"] });
});

test("bindings: all types that are not there yet are named at once", () => {
  const requests = [
    { type: "r2_bucket", name: "B", bucket_name: "b" },
    { type: "plain_text", name: "T", text: "" },
    { type: "ai", name: "AI" },
  ];
  expect(() => parseBindings(requests)).toThrow("'B' of type 'r2_bucket', 'AI' of type 'ai'");
});

test.each([
  [
    { type: "plain_text", name: "A", text: "x", extra: 1 },
    /binding 'A' of type 'plain_text'.*extra/,
  ],
  [{ type: "plain_text", name: "A" }, /'A'.*text/],
  [{ type: "plain_text", name: "", text: "" }, /name/],
  [{ type: "plain_text", name: "a\nb", text: "" }, /control characters/],
  [{ type: "plain_text", name: "__proto__", text: "" }, /__proto__/],
  [{ type: "toString", name: "A" }, /'A' of type 'toString'/],
  [{ name: "A" }, /needs a type/],
  ["text", /needs a type/],
  [
    { type: "kv_namespace", name: "KV", namespace_id: "x" },
    /'x' of the binding 'KV' does not exist/,
  ],
  [{ type: "kv_namespace", name: "KV", namespace_id: "x", raw: "yes" }, /raw/],
  [{ type: "service", name: "S", service: "Bad Name" }, /'Bad Name' does not exist/],
  [{ type: "service", name: "S", service: "a", environment: "staging" }, /environment/],
])("bindings: %j is refused", (request, message) => {
  expect(() => parseBindings([request])).toThrow(message);
});

test("bindings: two of one name are refused", () => {
  const twice = [
    { type: "inherit", name: "A" },
    { type: "version_metadata", name: "A" },
  ];
  expect(() => parseBindings(twice)).toThrow("Two bindings are named 'A'");
});

test("bindings: a text passes at its limit in bytes and is refused above", () => {
  const text = (bytes: number) => [{ type: "plain_text", name: "A", text: "é".repeat(bytes / 2) }];
  expect(parseBindings(text(LIMITS.bindingTextBytesMax)).bindings).toHaveLength(1);
  expect(() => parseBindings(text(LIMITS.bindingTextBytesMax + 2))).toThrow(/longer than 5120/);
});

test("bindings: JSON that is nested too deeply is refused by its name", () => {
  const levels = LIMITS.jsonLevelsMax + 1;
  for (const count of [levels, 100_000]) {
    const json = JSON.parse("[".repeat(count) + "]".repeat(count)) as unknown;
    const service = { type: "service", name: "B", service: "b", props: { json } };
    for (const binding of [{ type: "json", name: "B", json }, service]) {
      expect(() => parseBindings([binding])).toThrow(/binding 'B' .*: deeper than 500 levels/);
    }
  }
});

test("bindings: an upload's own win over kept ones, and kept types are exactly the listed", () => {
  const previous = {
    bindings: [
      { type: "plain_text" as const, name: "A", text: "old" },
      { type: "plain_text" as const, name: "B", text: "old" },
      { type: "secret_text" as const, name: "S" },
    ],
    secrets: { S: "1" },
  };
  const requested = parseBindings([{ type: "plain_text", name: "A", text: "new" }]);
  const resolve = (keptTypes: ReadonlyArray<string> | undefined) =>
    resolveBindings({ requested, previous, keptTypes });
  const own = { type: "plain_text", name: "A", text: "new" };
  expect(resolve(undefined)).toEqual({
    bindings: [own, { type: "secret_text", name: "S" }],
    secrets: { S: "1" },
  });
  expect(resolve(["plain_text"])).toEqual({
    bindings: [own, { type: "plain_text", name: "B", text: "old" }],
    secrets: {},
  });
  expect(resolve([])).toEqual({ bindings: [own], secrets: {} });
});
