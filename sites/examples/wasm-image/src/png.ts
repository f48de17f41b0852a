import fractal from "./fractal.wasm";
import type { Picture } from "./picture.ts";

interface FractalExports {
  readonly memory: WebAssembly.Memory;
  reserve(length: number): number;
  render(pointer: number, size: number, x: number, y: number, span: number, depth: number): void;
  crc32(pointer: number, length: number): number;
}

// One instance serves all requests: each call reserves, computes and copies out without an await between.
const wasm = new WebAssembly.Instance(fractal).exports as unknown as FractalExports;

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
const BITS_PER_CHANNEL = 8;
const COLOUR_TYPE_RGB = 2;

/** A PNG file, as https://www.w3.org/TR/png-3/ describes it: signature, header, pixels, end. */
export async function drawPng(picture: Picture): Promise<Blob> {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, picture.size);
  view.setUint32(4, picture.size);
  header.set([BITS_PER_CHANNEL, COLOUR_TYPE_RGB], 8);
  const pixels = await deflate(renderScanlines(picture));
  return new Blob([
    SIGNATURE,
    chunk("IHDR", header),
    chunk("IDAT", pixels),
    chunk("IEND", new Uint8Array()),
  ]);
}

function renderScanlines({ size, x, y, span, depth }: Picture): Uint8Array<ArrayBuffer> {
  const length = size * (1 + 3 * size);
  const pointer = wasm.reserve(length);
  wasm.render(pointer, size, x, y, span, depth);
  return new Uint8Array(wasm.memory.buffer, pointer, length).slice();
}

// Length, type and content, and the CRC of the latter two.
function chunk(type: string, content: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(content.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  bytes.set(new TextEncoder().encode(type), 4);
  bytes.set(content, 8);
  view.setUint32(content.length + 8, checksum(bytes.subarray(4, content.length + 8)));
  return bytes;
}

function checksum(bytes: Uint8Array): number {
  const pointer = wasm.reserve(bytes.length);
  new Uint8Array(wasm.memory.buffer, pointer, bytes.length).set(bytes);
  return wasm.crc32(pointer, bytes.length) >>> 0;
}

async function deflate(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const compressed = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(compressed).arrayBuffer());
}
