import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { EdgeError } from "../errors.ts";
import { parseConnectTarget, parseRequestTarget } from "./destination.ts";

describe("egress destination", () => {
  test.each([
    ["http://example.com/a?b=c", "http", "example.com", 80, "/a?b=c"],
    ["https://Example.COM./", "https", "example.com", 443, "/"],
    ["https://example.com:8443/%7Euser/../x", "https", "example.com", 8443, "/%7Euser/../x"],
    ["http://example.com?q=1", "http", "example.com", 80, "/?q=1"],
    ["http://[2606:4700::1]:81/", "http", "2606:4700::1", 81, "/"],
    ["http://user:password@example.com/", "http", "example.com", 80, "/"],
    // Every spelling of one address is that address.
    ["http://2130706433/", "http", "127.0.0.1", 80, "/"],
    ["http://0x7f000001/", "http", "127.0.0.1", 80, "/"],
    ["http://0177.0.0.1/", "http", "127.0.0.1", 80, "/"],
    ["http://127.1/", "http", "127.0.0.1", 80, "/"],
    ["http://0x7f.1/", "http", "127.0.0.1", 80, "/"],
    ["http://１２７.0.0.1/", "http", "127.0.0.1", 80, "/"],
    ["http://[::ffff:127.0.0.1]/", "http", "::ffff:7f00:1", 80, "/"],
  ])("%s", (target, scheme, host, port, path) => {
    expect(parseRequestTarget(target)).toMatchObject({ scheme, host, port, path });
  });

  test.each(["", "/path", "ftp://example.com/", "http://", "http://a b/", "example.com:443", "*"])(
    "'%s' is no request's target",
    (target) => {
      expect(() => parseRequestTarget(target)).toThrow(EdgeError);
    },
  );

  test.each([
    ["example.com:5432", "example.com", 5432],
    ["[::1]:22", "::1", 22],
    ["0x7f.1:6379", "127.0.0.1", 6379],
    ["2130706433:6379", "127.0.0.1", 6379],
  ])("%s as a CONNECT", (target, host, port) => {
    expect(parseConnectTarget(target)).toMatchObject({ scheme: "tcp", host, port });
  });

  test.each([
    "",
    "example.com",
    "example.com:0",
    "example.com:65536",
    "a/b:80",
    "u@h:80",
    ":80",
    "[::1]",
  ])("'%s' is no CONNECT", (target) => {
    expect(() => parseConnectTarget(target)).toThrow(EdgeError);
  });

  test("any text is parsed or refused with egress_invalid", () => {
    const codeOf = (parse: () => unknown): string => {
      try {
        parse();
        return "egress_invalid";
      } catch (error) {
        return error instanceof EdgeError ? error.code : String(error);
      }
    };
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        expect(codeOf(() => parseConnectTarget(text))).toBe("egress_invalid");
        expect(codeOf(() => parseRequestTarget(`http://${text}`))).toBe("egress_invalid");
      }),
    );
  });
});
