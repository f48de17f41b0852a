import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { REGIONS, type RegionName, type TestAtoll } from "./atoll.ts";
import { eventually } from "./eventually.ts";
import { accountPath } from "./refusal.ts";
import { upload } from "./upload.ts";

const SOURCE = join(import.meta.dirname, "..", "fixtures", "kv", "src", "index.js");

/** What came of a call of the binding: its result, or the message that it threw. */
export interface KvOutcome {
  readonly result?: unknown;
  readonly error?: string;
}

/** The binding of a worker made from the fixture `kv`, as seen in one region. */
export class KvWorker {
  readonly #atoll: TestAtoll;
  readonly #host = "kv.localhost";
  /** The id of what it is bound to. */
  readonly namespace: string;

  private constructor(atoll: TestAtoll, namespace: string) {
    this.#atoll = atoll;
    this.namespace = namespace;
  }

  /** Deploys the worker `kv`, bound to a new namespace; resolves when it answers in every region. */
  static async deploy(atoll: TestAtoll, options: { readonly title: string }): Promise<KvWorker> {
    const path = accountPath(atoll, "/storage/kv/namespaces");
    const created = await atoll.api(path, { method: "POST", body: JSON.stringify(options) });
    assert.equal(created.status, 200, created.body);
    const { result } = JSON.parse(created.body) as { readonly result: { readonly id: string } };
    const source = await readFile(SOURCE, "utf8");
    const bindings = [{ type: "kv_namespace", name: "KV", namespace_id: result.id }];
    const deployed = await upload(atoll, { name: "kv", source, metadata: { bindings } });
    assert.equal(deployed.status, 200, deployed.body);
    const worker = new KvWorker(atoll, result.id);
    for (const region of REGIONS) {
      await eventually(() => worker.call(region, "get", "none"), { what: `${region} answers` });
    }
    return worker;
  }

  /** Calls `env.KV[method](...parameters)`; see the fixture for what JSON can't hold. */
  async call(
    region: RegionName,
    method: string,
    ...parameters: ReadonlyArray<unknown>
  ): Promise<KvOutcome> {
    const answer = await this.#atoll.get(region, this.#host, "/", {
      method: "POST",
      body: JSON.stringify({ method, parameters }),
    });
    if (answer.status === 200) return JSON.parse(answer.body) as KvOutcome;
    throw new Error(`${this.#host} in ${region}: ${answer.status} ${answer.body.slice(0, 300)}`);
  }

  /** The result of a call that must not throw. */
  async result(
    region: RegionName,
    method: string,
    ...parameters: ReadonlyArray<unknown>
  ): Promise<unknown> {
    const { result, error } = await this.call(region, method, ...parameters);
    if (error === undefined) return result;
    throw new Error(`KV.${method} in ${region}: ${error}`);
  }
}
