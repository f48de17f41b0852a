import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";

/** One part of a `multipart/form-data` body. */
export interface Part {
  readonly name: string;
  /** As it was sent; absent when it was not. */
  readonly contentType?: string;
  /** A view that holds until the next part is asked for. */
  readonly content: Buffer;
}

const LINE_END = Buffer.from("\r\n");
const HEADERS_END = Buffer.from("\r\n\r\n");

/**
 * The parts of a body one after the other, each whole and in the order in which they come: for uploads of which
 * only some parts should be in memory at a time, where the platform's `formData()` holds all of them, several
 * times over. Throws `invalid_multipart`, and `body_too_large` for a part of more than `partBytesMax`.
 */
export async function* readParts(
  request: Pick<Request, "body" | "headers">,
  partBytesMax: number,
): AsyncIterable<Part> {
  const delimiter = Buffer.from(`\r\n--${boundaryOf(request.headers)}`);
  const window = new Window(request.body ?? []);
  // So that the first delimiter is like the others: nothing needs to be before it.
  window.begin(LINE_END);
  await window.until(delimiter, LIMITS.multipartPreambleBytesMax);
  while (await isPartNext(window)) {
    const headers = await window.until(HEADERS_END, LIMITS.multipartHeadersBytesMax);
    const described = describe(headers.toString());
    yield { ...described, content: await window.until(delimiter, partBytesMax) };
  }
}

/** Whether a delimiter begins another part; otherwise it ended the body. */
async function isPartNext(window: Window): Promise<boolean> {
  const end = await window.take(2);
  if (end.equals(LINE_END)) {
    // Headers begin behind a line's end, like all that they are looked for by.
    window.begin(LINE_END);
    return true;
  }
  if (end.toString() === "--") return false;
  throw malformed("a delimiter is followed by something else");
}

function boundaryOf(headers: Headers): string {
  const type = headers.get("content-type") ?? "";
  const match =
    /^multipart\/form-data\s*;(?:.*;)?\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))/i.exec(type);
  const boundary = match?.[1] ?? match?.[2];
  if (boundary === undefined) throw malformed("its content type names no boundary");
  return boundary;
}

function describe(headers: string): Omit<Part, "content"> {
  const lines = headers.split("\r\n");
  const valueOf = (name: string): string | undefined => {
    const line = lines.find((each) => each.toLowerCase().startsWith(`${name}:`));
    return line?.slice(name.length + 1).trim();
  };
  const name = /^form-data\s*;(?:.*;)?\s*name="([^"]*)"/i.exec(
    valueOf("content-disposition") ?? "",
  );
  if (name?.[1] === undefined) throw malformed("a part has no name");
  const contentType = valueOf("content-type");
  return { name: name[1], ...(contentType === undefined ? {} : { contentType }) };
}

/** What has come of a body and was not taken yet. */
class Window {
  readonly #pieces: AsyncIterator<Uint8Array>;
  #buffer = Buffer.alloc(LIMITS.multipartWindowBytes);
  #start = 0;
  #end = 0;

  constructor(body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>) {
    this.#pieces = toAsync(body)[Symbol.asyncIterator]();
  }

  /** Puts bytes before what comes next. */
  begin(bytes: Buffer): void {
    if (this.#start >= bytes.length) {
      this.#start -= bytes.length;
      bytes.copy(this.#buffer, this.#start);
      return;
    }
    const rest = Buffer.concat([bytes, this.#buffer.subarray(this.#start, this.#end)]);
    this.#start = 0;
    this.#end = 0;
    this.#append(rest);
  }

  /** The bytes before the mark, which is taken as well: a view that holds until the next call. */
  async until(mark: Buffer, bytesMax: number): Promise<Buffer> {
    let lookedAt = 0;
    for (;;) {
      const held = this.#buffer.subarray(this.#start, this.#end);
      const at = held.indexOf(mark, lookedAt);
      if (at > bytesMax || (at === -1 && held.length - mark.length > bytesMax)) {
        throw new ControlPlaneError("body_too_large", `A part has more than ${bytesMax} bytes`);
      }
      if (at !== -1) {
        const taken = held.subarray(0, at);
        this.#start += at + mark.length;
        return taken;
      }
      // The mark may have begun in what was looked through.
      lookedAt = Math.max(0, held.length - mark.length + 1);
      await this.#fill();
    }
  }

  async take(bytes: number): Promise<Buffer> {
    while (this.#end - this.#start < bytes) await this.#fill();
    const taken = Buffer.from(this.#buffer.subarray(this.#start, this.#start + bytes));
    this.#start += bytes;
    return taken;
  }

  async #fill(): Promise<void> {
    const next = await this.#pieces.next().catch((cause: unknown) => {
      throw malformed("its sender went away", cause);
    });
    if (next.done === true) throw malformed("it ends early");
    this.#append(next.value);
  }

  #append(piece: Uint8Array): void {
    const heldBytes = this.#end - this.#start;
    if (this.#end + piece.length > this.#buffer.length) {
      const held = this.#buffer.subarray(this.#start, this.#end);
      // Twice as large when it is too small, so that a large part is not copied again and again.
      const needed = heldBytes + piece.length;
      const target =
        needed > this.#buffer.length ? Buffer.alloc(Math.max(needed, heldBytes * 2)) : this.#buffer;
      held.copy(target);
      this.#buffer = target;
      this.#start = 0;
      this.#end = heldBytes;
    }
    this.#buffer.set(piece, this.#end);
    this.#end += piece.length;
  }
}

async function* toAsync(
  body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): AsyncIterable<Uint8Array> {
  yield* body;
}

function malformed(reason: string, cause?: unknown): ControlPlaneError {
  return new ControlPlaneError(
    "invalid_multipart",
    `The upload is not well-formed multipart/form-data: ${reason}`,
    { cause },
  );
}
