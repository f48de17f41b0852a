import type { Readable } from "node:stream";

/** What a request is answered with. */
export interface Answer {
  readonly status: number;
  /** One line of printable ASCII. */
  readonly reason: string;
  /** Values are printable ASCII. The length of the body is none of them. */
  readonly fields: ReadonlyArray<readonly [name: string, value: string | number]>;
  readonly body: Uint8Array | StreamedBody;
}

/** A body that is read while it is sent, and ends what it is read from. */
export interface StreamedBody {
  readonly stream: Readable;
  readonly sizeBytes: number;
}

/** An answer that is there as a whole. */
export type PlainAnswer = Answer & { readonly body: Uint8Array };

export const NO_BODY = new Uint8Array(0);

/** The head of an answer, with the empty line at its end. `isLast`: the connection ends with it. */
export function encodeHead({ status, reason, fields, body }: Answer, isLast: boolean): string {
  let text = `HTTP/1.1 ${status} ${reason}\r\n`;
  for (const [name, value] of fields) text += `${name}: ${value}\r\n`;
  if (isLast) text += "connection: close\r\n";
  return `${text}content-length: ${sizeOf(body)}\r\n\r\n`;
}

/** The whole answer. */
export function encodeAnswer(answer: PlainAnswer, isLast: boolean): Buffer {
  const head = encodeHead(answer, isLast);
  const bytes = Buffer.allocUnsafe(head.length + answer.body.length);
  bytes.write(head, "latin1");
  bytes.set(answer.body, head.length);
  return bytes;
}

function sizeOf(body: Answer["body"]): number {
  return body instanceof Uint8Array ? body.length : body.sizeBytes;
}
