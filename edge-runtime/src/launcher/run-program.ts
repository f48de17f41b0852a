import type { Readable } from "node:stream";
import { LAUNCHER } from "./launcher.ts";
import type { Program } from "./launcher-messages.ts";

/**
 * What a program writes on its standard output, which it is run for. Rejects when it can't be started, when it
 * ends with an error, and then the message is what it wrote on its standard error, and when it writes or takes more
 * than it may.
 */
export async function runProgram(
  program: Omit<Program, "descriptors">,
  bounds: {
    readonly timeMs: number;
    readonly outputBytesMax: number;
    readonly errorBytesMax: number;
  },
): Promise<Buffer> {
  const { file } = program;
  const nothing = new Uint8Array();
  const launched = await LAUNCHER.launch({
    ...program,
    descriptors: [nothing, "socket", "socket"],
  });
  const [, stdout, stderr] = launched.sockets as unknown as Outputs;
  let complaint: string | undefined;
  const stop = (why: string): void => {
    complaint ??= why;
    launched.signal("SIGKILL");
  };
  const written = collect(stdout, bounds.outputBytesMax, () =>
    stop(`${file} wrote more than ${bounds.outputBytesMax} bytes`),
  );
  // What is beyond the bound of its complaint is not of interest.
  const said = collect(stderr, bounds.errorBytesMax);
  const timer = setTimeout(
    () => stop(`${file} took longer than ${bounds.timeMs} ms`),
    bounds.timeMs,
  );
  const { code, signal } = await launched.ended;
  clearTimeout(timer);
  if (complaint === undefined && code === 0) return Buffer.concat(written);
  const text = Buffer.concat(said).toString().trim();
  throw new Error(complaint ?? (text || `${file} ended with ${signal ?? code}`));
}

type Outputs = readonly [undefined, Readable, Readable]; // as they were asked for

/** Chunks of a stream, which grow, up to so many bytes. */
function collect(
  stream: Readable,
  bytesMax: number,
  onMore: () => void = () => undefined,
): ReadonlyArray<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  stream.on("data", (chunk: Buffer) => {
    if (bytes + chunk.length > bytesMax) onMore();
    const kept = chunk.subarray(0, bytesMax - bytes);
    bytes += kept.length;
    chunks.push(kept);
  });
  return chunks;
}
