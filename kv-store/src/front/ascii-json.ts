/**
 * The same JSON in printable ASCII, which a header can carry: line breaks and tabs, which stand between
 * tokens only, become spaces, and what is not ASCII, which stands in strings only, is escaped. The text
 * must be valid JSON; numbers, order and repeated names stay as they were written.
 */
export function asciiJson(json: string): string {
  return json.replaceAll(/[\t\n\r]/g, " ").replaceAll(/[^\x20-\x7e]/g, escapeUnit);
}

/** Without the `u` flag a pattern matches UTF-16 units, and so does `\u`: pairs need no care. */
function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
