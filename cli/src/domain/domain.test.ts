import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openAccountsService, type ListedDomain } from "@atoll/control-plane";
import { systemClock } from "@atoll/kv-store";
import { expect, test } from "vitest";
import { createProgram } from "../program.ts";
import { deleteDomainOfAnybody, formatClaim, formatDomains } from "./domain.ts";

const CLAIM: ListedDomain = {
  domain: "example.com",
  status: "pending",
  challenge: { type: "TXT", name: "_atoll-challenge.example.com", value: "the value" },
  created_at: "2026-11-01T00:00:00.000Z",
  expires_at: "2026-11-08T00:00:00.000Z",
  proved_at: null,
};
const PROVED: ListedDomain = {
  ...CLAIM,
  status: "proved",
  expires_at: null,
  proved_at: "2026-11-02T00:00:00.000Z",
};

test("domain: a claim is shown with what to do, a proof with since when", () => {
  expect(formatClaim(CLAIM))
    .toBe(`To prove that example.com is yours, set this TXT record until 2026-11-08T00:00:00.000Z:

  name   _atoll-challenge.example.com
  value  the value

Then run 'atoll domain verify example.com'.`);
  expect(formatClaim(PROVED)).toMatch(/yours since 2026-11-02.*The TXT record may go/);
  const lines = formatDomains([CLAIM, { ...PROVED, domain: "proved.example" }]).split("\n");
  expect(lines.find((line) => line.includes("example.com"))).toMatch(/pending.*until.*_atoll-/);
  expect(lines.find((line) => line.includes("proved.example"))).toMatch(/proved.*since 2026-11-02/);
  expect(lines.find((line) => line.includes("proved.example"))).not.toContain("_atoll-");
});

test("domain: an operator is told what can't be taken from anybody", async () => {
  const dataDirectory = await mkdtemp(join(tmpdir(), "atoll-domain-"));
  await (await openAccountsService({ dataDirectory, clock: systemClock })).close();
  const take = (domain: string, folder = dataDirectory) =>
    deleteDomainOfAnybody({ dataDirectory: folder, databaseUrl: undefined }, domain);
  await expect(take("example.com")).rejects.toThrow("No account has proved 'example.com'");
  await expect(take("127.0.0.1")).rejects.toThrow("an IP address is no domain");
  await expect(take("example.com", join(dataDirectory, "none"))).rejects.toThrow("does not exist");
  await rm(dataDirectory, { recursive: true });
});

test("domain: the help of each command is complete", () => {
  const domain = createProgram().commands.find((command) => command.name() === "domain");
  const names = domain?.commands.map((command) => command.name());
  expect(names).toEqual(["add", "verify", "list", "delete"]);
  for (const command of domain?.commands ?? []) {
    const help = command.helpInformation();
    expect(help).toContain("--json");
    expect(help).toContain(command.description().slice(0, 30));
  }
});
