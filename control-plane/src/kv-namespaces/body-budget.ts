import { ControlPlaneError } from "../errors.ts";

/** Content of a body that was read to its end, or only the fact that it was too long to keep. */
export type ReadBody =
  | { readonly kind: "content"; readonly content: Uint8Array<ArrayBuffer> }
  | { readonly kind: "too_long"; readonly bytes: number };

/** Bounds the bodies that are in memory at once. Small ones pass while large ones arrive slowly. */
export class BodyBudget {
  readonly #bytesMax: number;
  readonly #drainBytesMax: number;
  #bytes = 0;

  constructor(bounds: { readonly bytesMax: number; readonly drainBytesMax: number }) {
    this.#bytesMax = bounds.bytesMax;
    this.#drainBytesMax = bounds.drainBytesMax;
  }

  /**
   * Reads a body of up to `bytesMax` and gives it to `use`. A longer one is read on and thrown away, so
   * that its sender gets to see the answer. Rejected with `busy` when there is no room for it now.
   */
  async read<Result>(
    request: Request,
    bytesMax: number,
    use: (body: ReadBody) => Promise<Result>,
  ): Promise<Result> {
    const announced = Number(request.headers.get("content-length") ?? bytesMax);
    const reserved = Math.min(announced, bytesMax);
    if (this.#bytes + reserved > this.#bytesMax) {
      throw new ControlPlaneError(
        "busy",
        `Bodies with ${this.#bytes} bytes are being received already: try again soon`,
      );
    }
    this.#bytes += reserved;
    try {
      return await use(await readBounded(request, bytesMax, this.#drainBytesMax));
    } finally {
      this.#bytes -= reserved;
    }
  }
}

async function readBounded(
  request: Request,
  keepBytesMax: number,
  drainBytesMax: number,
): Promise<ReadBody> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of request.body ?? []) {
    bytes += piece.length;
    if (bytes <= keepBytesMax) pieces.push(piece);
    else pieces.length = 0;
    if (bytes > drainBytesMax) break;
  }
  if (bytes > keepBytesMax) return { kind: "too_long", bytes };
  return { kind: "content", content: Buffer.concat(pieces) };
}
