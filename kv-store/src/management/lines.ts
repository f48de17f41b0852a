import { KvError } from "../errors.ts";

const LINE_FEED = 0x0a;

/**
 * The lines of a stream of bytes in UTF-8, without their line breaks; what follows the last one is a line if it
 * is not empty. Fails with `import_invalid` at one that has over `bytesMax`, so that no more than that and a
 * piece is in memory, and at one that is not UTF-8.
 */
export async function* linesOf(
  content: AsyncIterable<Uint8Array>,
  bytesMax: number,
): AsyncGenerator<string> {
  // What a line has so far: joined once, because a long one comes in thousands of pieces.
  let parts: Uint8Array[] = [];
  let length = 0;
  const extend = (part: Uint8Array): void => {
    length += part.length;
    if (length > bytesMax) throw new KvError("import_invalid", `it has over ${bytesMax} bytes`);
    parts.push(part);
  };
  const finish = (): string => {
    const line = Buffer.concat(parts);
    parts = [];
    length = 0;
    return decode(line);
  };
  for await (const piece of content) {
    let start = 0;
    for (let end = piece.indexOf(LINE_FEED); end !== -1; end = piece.indexOf(LINE_FEED, start)) {
      extend(piece.subarray(start, end));
      yield finish();
      start = end + 1;
    }
    extend(piece.subarray(start));
  }
  if (length > 0) yield finish();
}

function decode(line: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(line);
  } catch (cause) {
    throw new KvError("import_invalid", "it is not valid UTF-8", { cause });
  }
}
