import { expect, test } from "vitest";
import { parseHead } from "./request-head.ts";

const head = (...lines: string[]): string => lines.join("\r\n");

test("parseHead: takes a request apart as it was sent", () => {
  const text = head(
    "PUT /a%2Fb?x=%20 HTTP/1.1",
    "Host: fake-host",
    "X-Twice: 1",
    'CF-KV-Metadata:\t"\u00c3\u00a9\u007f" ',
    "x-twice:2",
    "Content-Length: 12",
    "Connection: Close",
  );
  const { fields, ...parsed } = parseHead(text);
  expect(parsed).toEqual({
    method: "PUT",
    target: "/a%2Fb?x=%20",
    framing: { kind: "length", bytes: 12 },
    isLast: true,
  });
  expect([...fields]).toEqual([
    ["host", "fake-host"],
    ["x-twice", "1, 2"],
    ["cf-kv-metadata", '"\u00c3\u00a9\u007f"'],
    ["content-length", "12"],
    ["connection", "Close"],
  ]);
});

test("parseHead: a request says where its body ends, or has none", () => {
  const framing = (...lines: string[]): unknown =>
    parseHead(head("GET / HTTP/1.1", ...lines)).framing;
  expect(framing()).toEqual({ kind: "length", bytes: 0 });
  expect(framing("transfer-encoding: CHUNKED")).toEqual({ kind: "chunked" });
});

test.each([
  ["nothing", ""],
  ["no target", "GET HTTP/1.1"],
  ["another protocol", "GET / HTTP/1.0"],
  ["two spaces", "GET  / HTTP/1.1"],
  ["a method that is none", "get / HTTP/1.1"],
  ["a tunnel", "CONNECT host:1 HTTP/1.1"],
  ["a field without a name", head("GET / HTTP/1.1", ": value")],
  ["a field without a colon", head("GET / HTTP/1.1", "value")],
  ["a space before the colon", head("GET / HTTP/1.1", "name : value")],
  ["a line that goes on", head("GET / HTTP/1.1", "name: value", " more")],
  ["a bare line feed", head("GET / HTTP/1.1", "name: value\nother: value")],
  ["a bare carriage return", head("GET / HTTP/1.1", "name: value\rother: value")],
  ["a byte of zero", head("GET / HTTP/1.1", "name: \0")],
  ["a length that is no number", head("PUT / HTTP/1.1", "content-length: 1e3")],
  ["a length with a sign", head("PUT / HTTP/1.1", "content-length: +1")],
  ["two lengths", head("PUT / HTTP/1.1", "content-length: 1", "content-length: 1")],
  [
    "a length and chunks",
    head("PUT / HTTP/1.1", "content-length: 1", "transfer-encoding: chunked"),
  ],
  ["another coding", head("PUT / HTTP/1.1", "transfer-encoding: gzip, chunked")],
])("parseHead: a head with %s is refused", (_what, text) => {
  expect(() => parseHead(text)).toThrow(/head of the request is malformed/);
});
