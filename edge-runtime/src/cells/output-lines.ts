import type { Readable } from "node:stream";
import { StringDecoder } from "node:string_decoder";

/**
 * Cuts a stream into lines of at most `lineLengthMax` characters; the rest of a longer line is dropped,
 * so that a process can neither fill our memory nor flood a log. The last line may lack its end.
 */
export function readLines(
  stream: Readable,
  lineLengthMax: number,
  onLine: (line: string) => void,
): void {
  const decoder = new StringDecoder("utf8");
  let partial = "";
  const take = (text: string): void => {
    const pieces = text.split("\n");
    const last = pieces.length - 1;
    pieces.forEach((piece, index) => {
      partial = (partial + piece).slice(0, lineLengthMax);
      if (index === last) return;
      onLine(partial);
      partial = "";
    });
  };
  stream.on("data", (chunk: Buffer) => take(decoder.write(chunk)));
  stream.on("end", () => {
    take(decoder.end());
    if (partial !== "") onLine(partial);
  });
  // A pipe of a process that is gone ends or breaks; the process's exit tells what happened.
  stream.on("error", () => undefined);
}
