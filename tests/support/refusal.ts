import assert from "node:assert/strict";
import { request } from "undici";
import type { Answer, CommandResult, TestAtoll } from "./atoll.ts";

/** How the API refused a call, as wrangler reads it. */
export interface Refusal {
  readonly status: number;
  /** The number that wrangler shows and decides by. */
  readonly code: number;
  readonly message: string;
}

/** A path below the account that the tests own. */
export function accountPath(atoll: TestAtoll, path: string): string {
  return `/accounts/${atoll.variables["CLOUDFLARE_ACCOUNT_ID"]}${path}`;
}

/** Reads a failure of the API. Throws when the answer is a success or not of the documented form. */
export function readRefusal({ status, body }: Pick<Answer, "status" | "body">): Refusal {
  assert.ok(status >= 400 && status < 500, `not refused: ${status} ${body.slice(0, 500)}`);
  return readFailure({ status, body });
}

/** Reads a refusal of what may be asked again, because something is not to be had now. */
export function readRefusalOf503({ status, body }: Pick<Answer, "status" | "body">): Refusal {
  assert.equal(status, 503, body.slice(0, 500));
  return readFailure({ status, body });
}

function readFailure({ status, body }: Pick<Answer, "status" | "body">): Refusal {
  const envelope = JSON.parse(body) as {
    success: boolean;
    result: unknown;
    errors: ReadonlyArray<{ code: number; message: string }>;
  };
  assert.equal(envelope.success, false);
  assert.equal(envelope.result, null);
  const [error, ...more] = envelope.errors;
  assert.ok(error !== undefined && more.length === 0, body);
  return { status, code: error.code, message: error.message };
}

/** Makes a call that must be refused, and checks that it changed nothing at all. */
export async function refused(atoll: TestAtoll, call: () => Promise<Answer>): Promise<Refusal> {
  const before = await readWhole(atoll);
  const refusal = readRefusal(await call());
  assert.deepEqual(await readWhole(atoll), before);
  return refusal;
}

/** Runs a wrangler that must fail, and checks that it changed nothing at all; resolves with its output. */
export async function refusedByWrangler(
  atoll: TestAtoll,
  run: () => Promise<CommandResult>,
): Promise<string> {
  const before = await readWhole(atoll);
  const { exitCode, output } = await run();
  assert.equal(exitCode, 1, output);
  assert.deepEqual(await readWhole(atoll), before);
  return output;
}

/**
 * All that a call may change: the revision that nodes follow, what serves, and every version, also those
 * that do not serve.
 */
async function readWhole(atoll: TestAtoll): Promise<unknown> {
  const { revision, workers } = await readStatus(atoll);
  const results = async (path: string): Promise<unknown> => {
    const answer = await atoll.api(accountPath(atoll, path));
    assert.equal(answer.status, 200, answer.body);
    return (JSON.parse(answer.body) as { result: unknown }).result;
  };
  const scripts = (await results("/workers/scripts")) as ReadonlyArray<{ id: string }>;
  const versions = await Promise.all(
    scripts.map(async ({ id }) => [
      id,
      await results(`/workers/scripts/${id}/versions`),
      await results(`/workers/scripts/${id}/deployments`),
      await results(`/workers/scripts/${id}/settings`),
    ]),
  );
  const namespaces = await results("/storage/kv/namespaces?per_page=1000");
  return { revision, workers, scripts, versions, namespaces };
}

/** What `atoll status --json` prints, without starting a process for it. */
export async function readStatus(atoll: TestAtoll): Promise<{
  readonly revision: number;
  readonly workers: ReadonlyArray<{
    readonly name: string;
    readonly routes: ReadonlyArray<string>;
  }>;
  readonly nodes: ReadonlyArray<{
    readonly name: string;
    readonly revision: number;
    readonly connected: boolean;
    readonly failures: ReadonlyArray<unknown>;
    readonly cellFaults: ReadonlyArray<unknown>;
    readonly kv: ReadonlyArray<{
      readonly namespace: string;
      readonly revision: number;
      readonly lagMs: number | null;
    }>;
    readonly cells: ReadonlyArray<{
      readonly workers: ReadonlyArray<string>;
      readonly state: string;
      readonly pid: number;
      readonly memoryBytes: number;
    }>;
  }>;
}> {
  const { body } = await request(`${atoll.url}/console/status`, {
    headers: { authorization: `Bearer ${atoll.variables["CLOUDFLARE_API_TOKEN"]}` },
  });
  return (await body.json()) as Awaited<ReturnType<typeof readStatus>>;
}
