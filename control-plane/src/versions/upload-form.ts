import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";

/** One file of an upload, as it was sent. */
export interface UploadedFile {
  /** Also the import specifier: it keeps a leading `./`. */
  readonly name: string;
  /** Without parameters, in lower case. */
  readonly contentType: string;
  readonly content: Uint8Array;
}

/** A worker's upload, taken apart and not yet understood. */
export interface UploadForm {
  readonly metadata: unknown;
  readonly files: ReadonlyArray<UploadedFile>;
}

/** A request, or what holds a form within another form. */
type FormBody = Pick<Request, "formData">;

const METADATA = "metadata";

/** Reads `multipart/form-data` with a `metadata` part of JSON; every other part is a file. */
export async function readUploadForm(request: FormBody): Promise<UploadForm> {
  const form = await readFormData(request);
  const metadata = await readMetadata(form);
  const files: UploadedFile[] = [];
  const names = new Set<string>();
  for (const [name, value] of form.entries()) {
    if (name === METADATA) continue;
    checkName(name, names);
    files.push(await readFile(name, value));
  }
  return { metadata, files };
}

/** Parses the body. The caller has bounded it before. */
export async function readFormData(request: FormBody): Promise<FormData> {
  try {
    return await request.formData();
  } catch (cause) {
    throw new ControlPlaneError(
      "invalid_multipart",
      "The upload is not well-formed multipart/form-data, or ended early",
      { cause },
    );
  }
}

async function readMetadata(form: FormData): Promise<unknown> {
  const [part, ...more] = form.getAll(METADATA);
  if (part === undefined || more.length > 0) {
    const count = more.length + (part === undefined ? 0 : 1);
    throw new ControlPlaneError(
      "invalid_metadata",
      `The upload has ${count} 'metadata' parts, not one`,
    );
  }
  const text = typeof part === "string" ? part : await part.text();
  const bytes = Buffer.byteLength(text);
  if (bytes > LIMITS.metadataBytesMax) {
    throw new ControlPlaneError(
      "invalid_metadata",
      `The upload's metadata has ${bytes} bytes, over the limit of ${LIMITS.metadataBytesMax}`,
    );
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ControlPlaneError("invalid_metadata", "The upload's metadata is not JSON", { cause });
  }
}

function checkName(name: string, names: Set<string>): void {
  if (name === "")
    throw new ControlPlaneError("invalid_module", "A module of the upload has no name");
  if (name.length > LIMITS.moduleNameCharactersMax || hasControlCharacter(name)) {
    throw new ControlPlaneError(
      "invalid_module",
      `The module name '${name.slice(0, 100)}' is longer than ${LIMITS.moduleNameCharactersMax} characters or holds control characters`,
    );
  }
  if (names.has(name)) {
    throw new ControlPlaneError("invalid_module", `The upload has two modules named '${name}'`);
  }
  if (names.size >= LIMITS.modulesMax) {
    throw new ControlPlaneError(
      "invalid_module",
      `The upload has over ${LIMITS.modulesMax} modules`,
    );
  }
  names.add(name);
}

async function readFile(name: string, value: File | string): Promise<UploadedFile> {
  if (typeof value === "string") {
    throw new ControlPlaneError(
      "invalid_module",
      `The part '${name}' has no file name, so it is no module`,
    );
  }
  return {
    name,
    contentType: (value.type.split(";")[0] ?? "").trim().toLowerCase(),
    content: new Uint8Array(await value.arrayBuffer()),
  };
}

function hasControlCharacter(text: string): boolean {
  return /\p{Cc}/u.test(text);
}
