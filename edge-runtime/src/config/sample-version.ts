import { createHash, randomUUID } from "node:crypto";
import {
  AccountId,
  DEFAULT_ACCOUNT_SETTINGS,
  Version,
  WorkerKey,
  WorkerName,
  type AccountSettings,
  type Binding,
  type ModuleKind,
} from "@atoll/control-plane/contract";
import type { ReadBlob } from "./compile-config.ts";
import type { GroupMember } from "./group-config.ts";

/** The account of every sample that names no other. */
const SAMPLE_ACCOUNT = AccountId.parse("0123456789abcdef0123456789abcdef");

interface SampleModule {
  readonly name: string;
  readonly kind: ModuleKind;
  readonly content: string | Uint8Array;
}

export interface Sample {
  readonly name?: string;
  /** The first one is the main module; none makes a version without code. */
  readonly modules?: ReadonlyArray<SampleModule>;
  /** Makes a version in the service-worker format, with `modules` as its parts. */
  readonly script?: string;
  readonly bindings?: ReadonlyArray<Binding>;
  readonly secrets?: Readonly<Record<string, string>>;
  readonly assets?: Version["assets"];
  readonly siteDirectory?: string;
  readonly compatibilityFlags?: ReadonlyArray<string>;
  readonly settings?: Partial<AccountSettings>;
  readonly isScheduled?: boolean;
  readonly tailConsumers?: ReadonlyArray<WorkerName>;
}

export interface SampleWorker extends GroupMember {
  readonly account: AccountId;
  readonly settings: AccountSettings;
  readonly other?: { readonly member: SampleWorker; readonly share: number };
  readonly readBlob: ReadBlob;
}

/** A worker as tests need one: a real version, parsed by its schema, with its blobs in memory. */
export function sampleWorker(sample: Sample): SampleWorker {
  const blobs = new Map<string, Uint8Array>();
  const store = (module: SampleModule): object => {
    const content = Buffer.from(module.content);
    const blob = createHash("sha256").update(content).digest("hex");
    blobs.set(blob, content);
    return { name: module.name, kind: module.kind, blob, size: content.length };
  };
  const name = WorkerName.parse(sample.name ?? "sample");
  return {
    key: WorkerKey.parse(`${SAMPLE_ACCOUNT}/${name}`),
    account: SAMPLE_ACCOUNT,
    name,
    version: Version.parse({
      id: randomUUID(),
      number: 1,
      createdAt: "2026-11-22T10:00:00.000Z",
      tag: "v1",
      code: codeOf(sample, store),
      compatibilityDate: "2026-11-01",
      compatibilityFlags: sample.compatibilityFlags ?? [],
      bindings: sample.bindings ?? [],
      assets: sample.assets,
    }),
    secrets: sample.secrets ?? {},
    isScheduled: sample.isScheduled ?? false,
    tailConsumers: sample.tailConsumers ?? [],
    settings: { ...DEFAULT_ACCOUNT_SETTINGS, ...sample.settings },
    ...(sample.siteDirectory !== undefined && { siteDirectory: sample.siteDirectory }),
    readBlob: async (hash) => {
      const blob = blobs.get(hash);
      if (blob === undefined) throw new Error(`no blob ${hash}`);
      return blob;
    },
  };
}

/** A sample whose main module is this source. */
export function sampleModule(source: string, sample: Sample = {}): SampleWorker {
  return sampleWorker({
    ...sample,
    modules: [{ name: "index.js", kind: "esm", content: source }, ...(sample.modules ?? [])],
  });
}

/** A sample that answers with this text. */
export function says(text: string, sample: Sample = {}): SampleWorker {
  return sampleModule(
    `export default { fetch() { return new Response(${JSON.stringify(text)}); } };`,
    sample,
  );
}

function codeOf(sample: Sample, store: (module: SampleModule) => object): object {
  const modules = (sample.modules ?? []).map(store);
  if (sample.script !== undefined) {
    const script = store({ name: "worker.js", kind: "esm", content: sample.script });
    return { kind: "service-worker", script, parts: modules };
  }
  return modules.length === 0 ? { kind: "none" } : { kind: "modules", modules };
}
