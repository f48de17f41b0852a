/** A response head as it goes over the wire; `headers` are names and values in turn. */
export function responseHeadText(
  status: number,
  phrase: string,
  headers: ReadonlyArray<string>,
): string {
  let text = `HTTP/1.1 ${status} ${phrase}\r\n`;
  for (let index = 0; index < headers.length; index += 2) {
    text += `${headers[index] ?? ""}: ${headers[index + 1] ?? ""}\r\n`;
  }
  return `${text}\r\n`;
}

/** Raw header or trailer parts as strings. Bytes above 127 are Latin-1 on the wire and in Node alike. */
export function headerText(part: Buffer | string | undefined): string {
  return typeof part === "string" ? part : (part?.toString("latin1") ?? "");
}

/**
 * The words for an answer's status in the form that Node writes: their bytes, which undici has read as UTF-8. Nothing
 * where HTTP does not allow them: Node would throw instead of writing them.
 */
export function reasonPhrase(text = ""): string {
  const phrase = Buffer.from(text).toString("latin1");
  return /^[\t\x20-\x7e\x80-\xff]*$/.test(phrase) ? phrase : "";
}
