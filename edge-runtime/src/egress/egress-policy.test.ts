import { describe, expect, test } from "vitest";
import { parseConnectTarget } from "./destination.ts";
import { EgressPolicy } from "./egress-policy.ts";

const OWN = ["127.0.0.1", "93.184.216.34", "2606:4700::1"];

describe("a node's own public addresses", () => {
  const policy = new EgressPolicy({
    allow: ["93.184.216.34:6379"],
    servedPorts: [8787],
    ownAddresses: () => OWN,
    resolve: async (host) => [
      { address: host === "own.test" ? "2606:4700::1" : "93.184.216.35", family: 4 },
    ],
  });

  test.each(["93.184.216.34:5432", "[2606:4700::1]:22", "[::ffff:93.184.216.34]:5432"])(
    "%s is refused: no firewall would see who asks",
    (target) => {
      expect(() => policy.admit(parseConnectTarget(target))).toThrow(
        /may not reach .*: its address is this node's own, .* the ports 80, 443, 8787 only/,
      );
    },
  );

  test.each(["93.184.216.34:443", "93.184.216.34:8787", "93.184.216.34:6379", "93.184.216.35:22"])(
    "%s is reached: the web, what the node serves, what is allowed by name, and other machines",
    (target) => {
      expect(() => policy.admit(parseConnectTarget(target))).not.toThrow();
    },
  );

  test("a name that leads there is refused alike", async () => {
    await expect(policy.resolvePublic({ host: "own.test", port: 22 })).rejects.toMatchObject({
      code: "egress_denied",
    });
    expect(await policy.resolvePublic({ host: "own.test", port: 443 })).toHaveLength(1);
    expect(await policy.resolvePublic({ host: "other.test", port: 22 })).toHaveLength(1);
  });
});
