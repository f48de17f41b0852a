import { blobHashOf } from "../blobs/blob-hash.ts";
import type { BlobHash, Code, Module, ModuleKind } from "../contract/index.ts";
import { ControlPlaneError } from "../errors.ts";
import type { SourceMap } from "./schemas.ts";
import type { UploadedFile } from "./upload-form.ts";
import type { UploadMetadata } from "./upload-metadata.ts";

/** An upload's code by reference, beside the content that the references stand for. */
export interface UploadedCode {
  readonly code: Code;
  readonly sourceMaps: ReadonlyArray<SourceMap>;
  readonly contents: ReadonlyMap<BlobHash, Uint8Array>;
}

const SOURCE_MAP = "application/source-map";

const MODULE_KIND_BY_TYPE: Readonly<Record<string, ModuleKind>> = {
  "application/javascript+module": "esm",
  "text/javascript+module": "esm",
  "application/javascript": "commonjs",
  "text/javascript": "commonjs",
  "application/wasm": "wasm",
  "application/octet-stream": "data",
  "text/plain": "text",
  "application/json": "json",
};

/** Type by which `content/v2` gives a module back. */
export const TYPE_BY_MODULE_KIND: Readonly<Record<ModuleKind, string>> = {
  esm: "application/javascript+module",
  commonjs: "application/javascript",
  wasm: "application/wasm",
  data: "application/octet-stream",
  text: "text/plain",
  json: "application/json",
};

/** Finds out what the files of an upload are to each other. */
export function readCode(
  metadata: Pick<UploadMetadata, "main_module" | "body_part">,
  files: ReadonlyArray<UploadedFile>,
): UploadedCode {
  const contents = new Map<BlobHash, Uint8Array>();
  const store = (content: Uint8Array): BlobHash => {
    const hash = blobHashOf(content);
    contents.set(hash, content);
    return hash;
  };
  const sourceMaps: SourceMap[] = [];
  const modules: Module[] = [];
  for (const { name, contentType, content } of files) {
    const size = content.length;
    if (contentType === SOURCE_MAP) sourceMaps.push({ name, blob: store(content), size });
    else modules.push({ name, kind: moduleKind(name, contentType), blob: store(content), size });
  }
  return { code: arrange(metadata, modules), sourceMaps, contents };
}

function moduleKind(name: string, contentType: string): ModuleKind {
  const kind = MODULE_KIND_BY_TYPE[contentType];
  if (kind !== undefined) return kind;
  if (contentType.startsWith("text/x-python")) {
    throw new ControlPlaneError(
      "unsupported",
      `Atoll does not support Python modules yet (module '${name}', ${contentType})`,
    );
  }
  throw new ControlPlaneError(
    "invalid_module",
    `The module '${name}' has the content type '${contentType}', which is none of a module`,
  );
}

function arrange(
  metadata: Pick<UploadMetadata, "main_module" | "body_part">,
  modules: ReadonlyArray<Module>,
): Code {
  const { main_module: mainName, body_part: scriptName } = metadata;
  if (mainName !== undefined && scriptName !== undefined) {
    throw new ControlPlaneError(
      "invalid_metadata",
      "metadata: both main_module and body_part are set",
    );
  }
  if (mainName !== undefined) {
    const { found, others } = take(modules, { name: mainName, role: "main module" });
    if (found.kind !== "esm") {
      throw new ControlPlaneError(
        "invalid_module",
        `The main module '${mainName}' must be an ES module (application/javascript+module), but it is ${found.kind}`,
      );
    }
    return { kind: "modules", modules: [found, ...others] };
  }
  if (scriptName !== undefined) {
    const { found, others } = take(modules, { name: scriptName, role: "script (body_part)" });
    return { kind: "service-worker", script: found, parts: others };
  }
  if (modules.length === 0) return { kind: "none" };
  throw new ControlPlaneError(
    "invalid_module",
    "The upload has modules but no main module: metadata must name one as main_module (ES modules) or body_part (service worker)",
  );
}

function take(
  modules: ReadonlyArray<Module>,
  wanted: { readonly name: string; readonly role: string },
): { readonly found: Module; readonly others: Module[] } {
  const found = modules.find(({ name }) => name === wanted.name);
  if (found !== undefined) return { found, others: modules.filter((module) => module !== found) };
  throw new ControlPlaneError(
    "invalid_module",
    `The ${wanted.role} '${wanted.name}' is not among the upload's modules`,
  );
}
