import { expect, test } from "vitest";
import { fill, mismatch, normalise, type Names } from "./expected-lines.ts";
import { readStory } from "./story.ts";

const ID = "01234567-89ab-4def-8123-456789abcdef";

function compare(actual: string, expected: string, names: Names = new Map()): string | undefined {
  return mismatch(normalise(actual), expected.split("\n"), names);
}

test("expected lines: every line must come, in its order, and no other", () => {
  expect(compare("a\n\n  b  \n", "a\nb")).toBeUndefined();
  expect(compare("\u001b[31ma\u001b[0m", "a")).toBeUndefined();
  expect(compare("a \u200a  b", "a b")).toBeUndefined();
  expect(compare("b\na", "a\nb")).toContain("expected 'a', found \"b\"");
  expect(compare("a\nb", "a")).toContain('expected the end, found "b"');
  expect(compare("a", "a\nb")).toContain("expected 'b', found \"the end\"");
});

test("expected lines: an ellipsis is any number of lines, also none", () => {
  expect(compare("a\nx\ny\nb", "a\n…\nb")).toBeUndefined();
  expect(compare("a\nb", "…\na\n…\nb\n…")).toBeUndefined();
  expect(compare("a\nx", "a\n…\nb")).toContain("expected 'b'");
});

test("expected lines: placeholders match by their kind, and named ones are remembered", () => {
  const names: Names = new Map([["worker", "app"]]);
  expect(
    compare(
      `Version ${ID} of app (1.25 sec)`,
      "Version <uuid:first> of {worker} (<number> sec)",
      names,
    ),
  ).toBeUndefined();
  expect(names.get("first")).toBe(ID);
  expect(fill('deploy {first}@100 {"a":1} {none}', names)).toBe(`deploy ${ID}@100 {"a":1} {none}`);
  expect(compare("Version x", "Version <uuid>")).toContain("expected");
});

test("stories: lines of another release are left out, and what is no line is refused", () => {
  const text =
    "# why\neveryday\nfile a.js\n| x\n|\n$ deploy\n4.86: > old\n4.164: > new\n! e\nexit 1\n< in\nGET a / => 200 b c\n$ tail\n> a\nwhile POST a /b x-c:d e:f => 500\n^C\n> b";
  expect(readStory(text, "4.164")).toEqual({
    isEveryday: true,
    steps: [
      { kind: "file", path: "a.js", content: "x\n\n" },
      {
        kind: "command",
        line: "deploy",
        input: "in",
        unset: [],
        exitCode: 1,
        stdout: ["new"],
        stderr: ["e"],
        meanwhile: [],
        linesUntilCtrlC: undefined,
      },
      { kind: "visit", method: "GET", host: "a", path: "/", headers: {}, status: 200, body: "b c" },
      {
        kind: "command",
        line: "tail",
        input: undefined,
        unset: [],
        exitCode: 0,
        stdout: ["a", "b"],
        stderr: [],
        meanwhile: [
          {
            kind: "visit",
            method: "POST",
            host: "a",
            path: "/b",
            headers: { "x-c": "d", e: "f" },
            status: 500,
            body: "",
          },
        ],
        linesUntilCtrlC: 1,
      },
    ],
  });
  expect(readStory(text, "4.86").steps[1]).toMatchObject({ stdout: ["old"] });
  expect(() => readStory("what\n", "4.86")).toThrow("line 1 is nothing");
  expect(() => readStory("while GET a / => 200\n", "4.86")).toThrow("line 1 is nothing");
  expect(() => readStory("$ tail\nwhile GET a / => 200\n", "4.86")).toThrow("has no end");
  expect(() => readStory("$ tail\nwhile GET a\n", "4.86")).toThrow("a visit is");
  expect(() => readStory("> x\n", "4.86")).toThrow("line 1 is nothing");
});
