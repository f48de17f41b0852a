// Nothing is allocated by the compiler's runtime: memory behind the static data is the picture's.
const START: usize = __heap_base;
const CRC_TABLE: usize = memory.data(256 * 4);

makeCrcTable();

/** Makes room for `length` bytes and returns where they begin. The next call reuses the room. */
export function reserve(length: u32): usize {
  const end = START + <usize>length;
  const present = <usize>memory.size() << 16;
  if (end > present) memory.grow(<i32>((end - present + 0xffff) >> 16));
  return START;
}

/**
 * Draws the Mandelbrot set as PNG scanlines: per row one filter byte (0) and `size` RGB pixels.
 * The picture is `span` wide around (`centreX`, `centreY`).
 */
export function render(pointer: usize, size: u32, centreX: f64, centreY: f64, span: f64, depth: u32): void {
  const step = span / <f64>size;
  const left = centreX - span / 2.0;
  const top = centreY - span / 2.0;
  let at = pointer;
  for (let row: u32 = 0; row < size; row++) {
    store<u8>(at++, 0);
    for (let column: u32 = 0; column < size; column++) {
      const steps = escapeSteps(left + step * <f64>column, top + step * <f64>row, depth);
      paint(at, steps, depth);
      at += 3;
    }
  }
}

/** The CRC-32 of PNG chunks. */
export function crc32(pointer: usize, length: u32): u32 {
  let crc: u32 = 0xffffffff;
  for (let i: u32 = 0; i < length; i++) {
    crc = load<u32>(CRC_TABLE + (((crc ^ load<u8>(pointer + i)) & 0xff) << 2)) ^ (crc >>> 8);
  }
  return crc ^ 0xffffffff;
}

function escapeSteps(x: f64, y: f64, depth: u32): u32 {
  let real = 0.0;
  let imaginary = 0.0;
  for (let steps: u32 = 0; steps < depth; steps++) {
    const realSquared = real * real;
    const imaginarySquared = imaginary * imaginary;
    if (realSquared + imaginarySquared > 4.0) return steps;
    imaginary = 2.0 * real * imaginary + y;
    real = realSquared - imaginarySquared + x;
  }
  return depth;
}

// From deep water at the outside to sand at the edge; the set itself is black.
function paint(at: usize, steps: u32, depth: u32): void {
  const inside = steps == depth;
  const shade = inside ? 0 : (steps * 255) / depth;
  store<u8>(at, <u8>(inside ? 0 : min<u32>(255, shade * 2)));
  store<u8>(at + 1, <u8>(inside ? 0 : min<u32>(255, 60 + shade)));
  store<u8>(at + 2, <u8>(inside ? 0 : 110 - shade / 4));
}

function makeCrcTable(): void {
  for (let i: u32 = 0; i < 256; i++) {
    let value = i;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
    store<u32>(CRC_TABLE + (i << 2), value);
  }
}
