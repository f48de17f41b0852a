import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { backUp, BackupError, restoreBackup } from "@atoll/control-plane";
import { checkInstallation } from "@atoll/control-plane/test-support/installation-check";
import { Random } from "@atoll/kv-store/test-support/random";
import { afterAll, beforeAll, expect, test } from "vitest";
import { IS_THOROUGH, MAIN } from "../support/atoll.ts";
import { callApi, ControlPlaneProcess } from "../support/control-plane-process.ts";
import { eventually } from "../support/eventually.ts";

const KILLS = IS_THOROUGH ? 40 : 2;
const SEED = Number(process.env["ATOLL_SEED"] ?? Date.now() % 100_000);
// So much that copying it and sealing it anew takes longer than a process needs to start.
const SECRETS = IS_THOROUGH ? 150 : 50;
const VERSIONS = 4;
const MODULE_BYTES = 1_000_000;

let plane: ControlPlaneProcess;
let directory: string;
beforeAll(async () => {
  plane = await ControlPlaneProcess.start();
  directory = await mkdtemp(join(tmpdir(), "atoll-commands-"));
  for (let version = 0; version < VERSIONS; version += 1) await deploy(`version ${version}`);
});
afterAll(async () => {
  await plane.stop();
  await rm(directory, { recursive: true });
});

/** Deploys a worker with many secrets and a large module. */
async function deploy(text: string): Promise<void> {
  const form = new FormData();
  const bindings = Array.from({ length: SECRETS }, (_, index) => ({
    type: "secret_text",
    name: `SECRET_${index}`,
    text: `${text} ${index}`,
  }));
  const metadata = { main_module: "index.js", compatibility_date: "2026-06-01", bindings };
  form.set("metadata", JSON.stringify(metadata));
  const source = "export default { fetch: (request, env) => new Response(env.SECRET_0) };";
  const type = "application/javascript+module";
  form.set("index.js", new Blob([source], { type }), "index.js");
  const large = Buffer.alloc(MODULE_BYTES, text);
  form.set("large.bin", new Blob([large], { type: "application/octet-stream" }), "large.bin");
  await callApi(plane, "PUT", "/workers/scripts/holder", form);
}

/** Runs a command and kills it so long after it has begun to work; `false` when it came to its end before. */
async function killWithin(
  line: ReadonlyArray<string>,
  work: { readonly hasBegun: () => boolean; readonly afterMs: number },
): Promise<boolean> {
  const child = spawn(process.execPath, [MAIN, ...line], { stdio: "ignore" });
  const exited = once(child, "exit");
  await eventually(() => work.hasBegun() || child.exitCode !== null, { what: "it has begun" });
  const killing = setTimeout(() => child.kill("SIGKILL"), work.afterMs);
  const [, signal] = (await exited) as [number | null, NodeJS.Signals | null];
  clearTimeout(killing);
  return signal === "SIGKILL";
}

/** How long something takes that is not killed. */
async function durationOf(action: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await action();
  return performance.now() - startedAt;
}

/** Restores a folder into a new place, which must be whole then; `false` when it is refused as no backup. */
async function isBackup(from: string): Promise<boolean> {
  const dataDirectory = await mkdtemp(join(directory, "restored-"));
  try {
    await restoreBackup({ from, dataDirectory, masterKey: undefined, now: new Date() });
    expect(await checkInstallation({ dataDirectory })).toEqual([]);
    return true;
  } catch (error) {
    if (error instanceof BackupError) return false;
    throw error;
  } finally {
    await rm(dataDirectory, { recursive: true, force: true });
  }
}

test(
  `atoll backup is killed ${KILLS} times: what is there is no backup or a whole one (seed ${SEED})`,
  { timeout: 1_800_000 },
  async () => {
    const random = new Random(SEED);
    const { dataDirectory } = plane;
    const options = { dataDirectory, isWithoutKey: false, now: new Date() };
    const workMs = await durationOf(() => backUp({ ...options, to: join(directory, "timed") }));
    const to = join(directory, "backup");
    const partial = `${to}.partial`;
    let killed = 0;
    for (let turn = 0; turn < KILLS; turn += 1) {
      await rm(partial, { recursive: true, force: true });
      await rm(to, { recursive: true, force: true });
      const work = { hasBegun: () => existsSync(partial), afterMs: random.next() * workMs };
      killed += Number(await killWithin(["backup", to, "--data", dataDirectory], work));
      // It is whole, or refused: `isBackup` fails on anything between.
      const isWhole = await isBackup(existsSync(to) ? to : partial);
      expect(isWhole || !existsSync(to)).toBe(true);
    }
    expect(killed).toBeGreaterThan(KILLS / 10 - 1);
    await rm(to, { recursive: true, force: true });
    const { exitCode, output } = await plane.command(["backup", to, "--data", dataDirectory]);
    expect(exitCode, output).toBe(0);
    expect(existsSync(partial)).toBe(false);
    expect(await isBackup(to)).toBe(true);
    expect(await checkInstallation(plane)).toEqual([]);
    await deploy("after the backups");
  },
);

test(
  `atoll restore is killed ${KILLS} times: it has restored nothing or everything (seed ${SEED})`,
  { timeout: 1_800_000 },
  async () => {
    const random = new Random(SEED + 1);
    const from = join(directory, "to-restore");
    const { dataDirectory } = plane;
    await backUp({ dataDirectory, to: from, isWithoutKey: false, now: new Date() });
    const data = join(directory, "data");
    const building = `${data}.restoring`;
    const workMs = await durationOf(() => isBackup(from));
    let killed = 0;
    for (let turn = 0; turn < KILLS; turn += 1) {
      await rm(building, { recursive: true, force: true });
      await rm(data, { recursive: true, force: true });
      const work = { hasBegun: () => existsSync(building), afterMs: random.next() * workMs };
      killed += Number(await killWithin(["restore", from, "--data", data], work));
      const findings = existsSync(data) ? await checkInstallation({ dataDirectory: data }) : [];
      expect(findings).toEqual([]);
    }
    expect(killed).toBeGreaterThan(KILLS / 10 - 1);
    await rm(data, { recursive: true, force: true });
    const { exitCode, output } = await plane.command(["restore", from, "--data", data]);
    expect(exitCode, output).toBe(0);
    expect(existsSync(building)).toBe(false);
    const restored = await ControlPlaneProcess.start({ dataDirectory: data });
    try {
      const secrets = await readSecrets(restored, plane);
      expect(secrets).toHaveLength(SECRETS);
    } finally {
      await restored.stop();
    }
    expect(await checkInstallation({ dataDirectory: data })).toEqual([]);
  },
);

/** What a control plane lists, asked with the account and token of the one that was backed up. */
async function readSecrets(
  asked: ControlPlaneProcess,
  backedUp: ControlPlaneProcess,
): Promise<ReadonlyArray<unknown>> {
  const { url } = asked;
  const { account, token } = backedUp;
  const path = "/workers/scripts/holder/secrets";
  return (await callApi({ url, account, token }, "GET", path)) as ReadonlyArray<unknown>;
}

test(
  `atoll master-key rotate is killed ${KILLS} times: all secrets open, and the next one finishes (seed ${SEED})`,
  { timeout: 1_800_000 },
  async () => {
    const random = new Random(SEED + 2);
    const line = ["master-key", "rotate", ...plane.place];
    const wholeMs = await durationOf(() => plane.command(line));
    let killed = 0;
    for (let turn = 0; turn < KILLS; turn += 1) {
      // Most of the time is its start, so that kills come before, within and after the work.
      const afterMs = wholeMs * (0.4 + 0.6 * random.next());
      killed += Number(await killWithin(line, { hasBegun: () => true, afterMs }));
      // Every secret of every version is opened, by keys read anew.
      expect(await checkInstallation(plane)).toEqual([]);
      // The running control plane opens them, too, and seals with whichever key is the current one.
      const change = { name: "SECRET_0", text: `turn ${turn}`, type: "secret_text" };
      await callApi(plane, "PUT", "/workers/scripts/holder/secrets", change);
    }
    expect(killed).toBeGreaterThan(KILLS / 10 - 1);
    for (const _ of ["finishes what was begun", "replaces the key"]) {
      const { exitCode, output } = await plane.command(line);
      expect(exitCode, output).toBe(0);
    }
    const { output } = await plane.command(["master-key", "status", ...plane.place]);
    expect(output).toMatch(/current, needed by \d{2,} sealed records/);
    expect(output).toMatch(/earlier, needed by 0 sealed records/);
    await plane.end("SIGKILL");
    await plane.restart();
    await deploy("after the rotations");
    expect(await checkInstallation(plane)).toEqual([]);
  },
);
