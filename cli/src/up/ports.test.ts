import { expect, test } from "vitest";
import { UsageError } from "../settings.ts";
import { requireOtherPorts } from "./ports.ts";

const PORTS = new Set([4400, 4401, 4402, 4403]);

test.each([[[4397, 4398, 4399]], [[4404, 4405, 4406]], [[]]])(
  "up: metrics at %j are told",
  (ports) => {
    expect(() => requireOtherPorts(ports, PORTS)).not.toThrow();
  },
);

test.each([
  [[4398, 4399, 4400], 4400],
  [[4403, 4404, 4405], 4403],
])("up: metrics at %j would be told where somebody serves", (ports, shared) => {
  expect(() => requireOtherPorts(ports, PORTS)).toThrow(UsageError);
  expect(() => requireOtherPorts(ports, PORTS)).toThrow(`ATOLL_METRICS_PORT=${ports[0]}`);
  expect(() => requireOtherPorts(ports, PORTS)).toThrow(` ${shared} is one`);
});
