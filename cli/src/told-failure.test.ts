import { ControlPlaneError } from "@atoll/control-plane";
import { expect, test } from "vitest";
import { UsageError } from "./settings.ts";
import { toldFailure } from "./told-failure.ts";

test("told failure: what people can mend is one sentence, with the reason of a part", () => {
  const cause = new TypeError("it failed", { cause: new Error("there is no master key") });
  expect(toldFailure(new UsageError("Say which", { cause }))).toBe("atoll: Say which");
  const refused = new ControlPlaneError("secret_unreadable", "It does not open", { cause });
  expect(toldFailure(refused)).toBe("atoll: It does not open (there is no master key)");
  const taken = Object.assign(new Error("listen EADDRINUSE: address in use 127.0.0.1:4400"), {
    code: "EADDRINUSE",
  });
  expect(toldFailure(taken)).toBe("atoll: listen EADDRINUSE: address in use 127.0.0.1:4400");
});

test("told failure: what is ours to mend keeps its stack", () => {
  for (const error of [new TypeError("x is not a function"), "thrown", undefined]) {
    expect(toldFailure(error)).toBe(error);
  }
  const internal = new ControlPlaneError("internal", "no");
  expect(toldFailure(internal)).toBe(internal);
});
