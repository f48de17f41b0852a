import { LIMITS } from "../limits.ts";

// Each row's own share, which bounds a chunk of small ones.
const ROW_BYTES = 1_024;

/** Rows in pieces, each of which ends after the row that crosses the size of a statement. */
export function* chunksOf<Row>(
  rows: Iterable<Row>,
  bytesOf: (row: Row) => number,
): Iterable<ReadonlyArray<Row>> {
  let chunk: Row[] = [];
  let bytes = 0;
  for (const row of rows) {
    chunk.push(row);
    bytes += ROW_BYTES + bytesOf(row);
    if (bytes < LIMITS.statementBytesMax) continue;
    yield chunk;
    chunk = [];
    bytes = 0;
  }
  if (chunk.length > 0) yield chunk;
}
