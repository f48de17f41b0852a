import type { BlobStore } from "../blobs/blob-store.ts";
import type { BlobHash, Module } from "../contract/index.ts";
import { ControlPlaneError } from "../errors.ts";
import { TYPE_BY_MODULE_KIND } from "./code.ts";
import type { SourceMap, StoredVersion } from "./schemas.ts";

/**
 * A version's files as `multipart/form-data`, as wrangler uploads them again under other bindings; the
 * script alone for the service-worker format.
 */
export async function writeContent(stored: StoredVersion, blobs: BlobStore): Promise<Response> {
  const { code } = stored.version;
  if (code.kind === "none") {
    throw new ControlPlaneError("version_not_found", "This version has assets only, no code");
  }
  if (code.kind === "modules") return writeModules(code.modules, stored.notes.sourceMaps, blobs);
  return new Response(await read(blobs, code.script.blob), {
    headers: { "content-type": TYPE_BY_MODULE_KIND.commonjs },
  });
}

async function writeModules(
  modules: ReadonlyArray<Module>,
  sourceMaps: ReadonlyArray<SourceMap>,
  blobs: BlobStore,
): Promise<Response> {
  const form = new FormData();
  for (const { name, kind, blob } of modules) {
    form.append(name, await readFile(blobs, { name, blob, type: TYPE_BY_MODULE_KIND[kind] }));
  }
  for (const { name, blob } of sourceMaps) {
    form.append(name, await readFile(blobs, { name, blob, type: "application/source-map" }));
  }
  const entrypoint = modules[0]?.name ?? "";
  return new Response(form, { headers: { "cf-entrypoint": encodeURI(entrypoint) } });
}

async function readFile(
  blobs: BlobStore,
  file: { readonly name: string; readonly blob: BlobHash; readonly type: string },
): Promise<File> {
  return new File([await read(blobs, file.blob)], file.name, { type: file.type });
}

async function read(blobs: BlobStore, hash: BlobHash): Promise<Uint8Array<ArrayBuffer>> {
  const content = await blobs.get(hash);
  if (content === undefined) throw new Error(`blob ${hash} of a version is missing`);
  return Uint8Array.from(content);
}
