import { Agent, request } from "node:http";
import { LIMITS } from "../limits.ts";

export interface CellResponse {
  readonly status: number;
  readonly body: string;
  readonly headers: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>;
}

export interface CellRequest {
  readonly socketPath: string;
  readonly path?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** The call is given up, and rejected, after this long without an answer. */
  readonly timeoutMs: number;
}

/**
 * One HTTP request to a cell's socket, on a connection of its own. Rejected when the answer is longer than
 * `LIMITS.cellAnswerBytesMax`: whoever took over the process of a cell may say what it likes.
 */
export function askCell(options: CellRequest): Promise<CellResponse> {
  const { promise, resolve, reject } = Promise.withResolvers<CellResponse>();
  const agent = new Agent({ keepAlive: false });
  const outgoing = request(
    {
      agent,
      socketPath: options.socketPath,
      path: options.path ?? "/",
      method: options.method ?? "GET",
      headers: { host: "cell", ...options.headers },
      signal: AbortSignal.timeout(options.timeoutMs),
    },
    (incoming) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      incoming.on("data", (chunk: Buffer) => {
        chunks.push(chunk);
        bytes += chunk.length;
        if (bytes <= LIMITS.cellAnswerBytesMax) return;
        incoming.destroy(new Error(`a cell answered more than ${LIMITS.cellAnswerBytesMax} bytes`));
      });
      incoming.on("error", reject);
      incoming.on("end", () => {
        const body = Buffer.concat(chunks).toString();
        resolve({ status: incoming.statusCode ?? 0, body, headers: incoming.headers });
      });
    },
  );
  outgoing.on("error", reject);
  outgoing.end(options.body);
  return promise;
}
