import { beforeEach, expect, test } from "vitest";
import { AccountId, Assets, DEFAULT_ACCOUNT_SETTINGS, Version } from "../contract/index.ts";
import { LIMITS } from "../limits.ts";
import { ScriptedPreflight } from "../test-support/scripted-preflight.ts";
import type { PreflightCandidate } from "./preflight.ts";
import { RememberedPreflight } from "./remembered-preflight.ts";

let scripted: ScriptedPreflight;
let preflight: RememberedPreflight;
beforeEach(() => {
  scripted = new ScriptedPreflight();
  preflight = new RememberedPreflight(scripted);
});

let lastNumber = 0;

/** A version of its own id, number and time. */
function candidate(
  changes: Partial<Version> = {},
  others: Partial<PreflightCandidate> = {},
): PreflightCandidate {
  lastNumber += 1;
  const blob = "ab".repeat(32);
  const version = Version.parse({
    id: crypto.randomUUID(),
    number: lastNumber,
    createdAt: new Date(lastNumber).toISOString(),
    code: { kind: "modules", modules: [{ name: "index.js", kind: "esm", blob, size: 1 }] },
    compatibilityDate: "2026-06-01",
    compatibilityFlags: [],
    bindings: [],
    tag: `tag ${lastNumber}`,
    ...changes,
  });
  const readBlob = () => Promise.resolve(new Uint8Array());
  const account = AccountId.parse("0".repeat(32));
  const settings = DEFAULT_ACCOUNT_SETTINGS;
  return { account, version, secrets: {}, settings, readBlob, ...others };
}

test("remembered preflight: the same content is started once, whatever its id, number, time and tag", async () => {
  for (let time = 0; time < 3; time += 1) {
    expect(await preflight.check(candidate())).toEqual({ kind: "started", startupMs: 7 });
  }
  expect(scripted.candidates).toHaveLength(1);
});

test("remembered preflight: other static files are no reason to start the same code again", async () => {
  for (const manifest of ["ab", "cd"].map((byte) => byte.repeat(32))) {
    await preflight.check(candidate({ assets: Assets.parse({ manifest }) }));
  }
  expect(scripted.candidates).toHaveLength(1);
});

test("remembered preflight: whatever a start depends on makes another one", async () => {
  const variable = { type: "plain_text", name: "A", text: "1" } as const;
  const secret = { type: "secret_text", name: "S" } as const;
  const different = [
    candidate(),
    candidate({ compatibilityDate: "2026-05-01" }),
    candidate({ compatibilityFlags: ["nodejs_compat"] }),
    candidate({ bindings: [variable] }),
    candidate({ bindings: [{ ...variable, text: "2" }] }),
    candidate({ bindings: [secret] }, { secrets: { S: "1" } }),
    candidate({ bindings: [secret] }, { secrets: { S: "2" } }),
    candidate({ limits: { cpuMs: 10 } }),
    candidate({ code: { kind: "none" } }),
    candidate({ assets: Assets.parse({ manifest: "ab".repeat(32) }) }),
    candidate({ assets: Assets.parse({ manifest: "ab".repeat(32), headers: "/*\n  A: b" }) }),
    candidate({}, { settings: { ...DEFAULT_ACCOUNT_SETTINGS, memoryMib: 64 } }),
  ];
  for (const each of different) await preflight.check(each);
  expect(scripted.candidates).toEqual(different);
});

test("remembered preflight: what failed, or could not be checked, is started again", async () => {
  scripted.answer = { kind: "failed", message: "boom" };
  expect(await preflight.check(candidate())).toEqual(scripted.answer);
  scripted.answer = new Error("no workerd");
  await expect(preflight.check(candidate())).rejects.toThrow("no workerd");
  scripted.answer = { kind: "started", startupMs: 3 };
  expect(await preflight.check(candidate())).toEqual(scripted.answer);
  expect(scripted.candidates).toHaveLength(3);
});

test("remembered preflight: the one that was asked for least lately is forgotten first", async () => {
  const text = (number: number) =>
    candidate({ bindings: [{ type: "plain_text", name: "A", text: String(number) }] });
  for (let number = 0; number < LIMITS.preflightsRememberedMax; number += 1) {
    await preflight.check(text(number));
  }
  await preflight.check(text(0));
  await preflight.check(text(-1));
  const { length } = scripted.candidates;
  await preflight.check(text(0));
  expect(scripted.candidates).toHaveLength(length);
  await preflight.check(text(1));
  expect(scripted.candidates).toHaveLength(length + 1);
});
