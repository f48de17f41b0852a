import { expect, test } from "vitest";
import { branchAlias } from "./branch-alias.ts";

test.each([
  ["next", "next"],
  ["Feature/Some_Thing.2", "feature-some-thing-2"],
  ["--a--b--", "a-b"],
  ["a".repeat(40), "a".repeat(28)],
  [`${"a".repeat(27)}/b`, "a".repeat(27)],
  ["ünïcödé", "n-c-d"],
  ["äöü", undefined],
])("alias of a branch: %s is %s", (branch, alias) => {
  expect(branchAlias(branch, "blog")).toBe(alias);
});

test("alias of a branch: is as long as a DNS label lets it be beside the project", () => {
  expect(branchAlias("feature-one", "p".repeat(54))).toBe("feature");
  expect(branchAlias("feature-one", "p".repeat(62))).toBeUndefined();
});
