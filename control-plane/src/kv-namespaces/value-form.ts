import { checkValueSize, parseMetadata } from "@atoll/kv-store";
import { ControlPlaneError } from "../errors.ts";

/** What a single write carries in its body. */
export interface SentValue {
  readonly value: Uint8Array<ArrayBuffer>;
  /** JSON text. */
  readonly metadata: string | undefined;
}

/** Whether the body is a form with metadata, rather than the value itself. */
export function isValueForm(contentType: string | undefined): boolean {
  return /^multipart\/form-data\s*(;|$)/i.test(contentType ?? "");
}

/** Takes a form apart into `value` and, optionally, `metadata`. */
export async function parseValueForm(
  body: Uint8Array<ArrayBuffer>,
  contentType: string,
): Promise<SentValue> {
  const form = await parseForm(body, contentType);
  for (const name of form.keys()) {
    if (name === "value" || name === "metadata") continue;
    throw invalid(`The form has a part '${name.slice(0, 100)}'; known are 'value' and 'metadata'`);
  }
  const part = onlyPart(form, "value");
  if (part === undefined) throw invalid("The form has no part 'value'");
  const value = typeof part === "string" ? exactText(part, body) : await contentOf(part);
  checkValueSize(value.length);
  const metadata = onlyPart(form, "metadata");
  if (metadata === undefined) return { value, metadata: undefined };
  const json = typeof metadata === "string" ? metadata : await metadata.text();
  return { value, metadata: parseMetadata(json) };
}

async function parseForm(body: Uint8Array<ArrayBuffer>, contentType: string): Promise<FormData> {
  try {
    return await new Response(body, { headers: { "content-type": contentType } }).formData();
  } catch (cause) {
    throw new ControlPlaneError(
      "invalid_multipart",
      "The body is not well-formed multipart/form-data, or ended early",
      { cause },
    );
  }
}

function onlyPart(form: FormData, name: string): File | string | undefined {
  const [part, ...more] = form.getAll(name);
  if (more.length === 0) return part;
  throw invalid(`The form has ${more.length + 1} parts '${name}', not one`);
}

async function contentOf(file: File): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await file.arrayBuffer());
}

/**
 * The bytes of a part that was sent as text. Bytes that are no UTF-8 were replaced when the form was
 * parsed: then the text is found nowhere in the body, and storing it would damage the value.
 */
function exactText(text: string, body: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = Buffer.from(text, "utf8");
  const part = Buffer.concat([Buffer.from("\r\n\r\n"), bytes, Buffer.from("\r\n--")]);
  if (Buffer.from(body.buffer, body.byteOffset, body.byteLength).includes(part)) return bytes;
  throw invalid("The part 'value' is not UTF-8 text: send it as a file, with a file name");
}

function invalid(message: string): ControlPlaneError {
  return new ControlPlaneError("kv_value_invalid", message);
}
