/** Texts that a story's words stand for; `<uuid:first>` names one, for the lines that follow. */
export type Names = Map<string, string>;

const ANY_LINES = "…";

const PLACEHOLDERS: Readonly<Record<string, string>> = {
  uuid: "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
  hex: "[0-9a-f]{8,}",
  number: String.raw`\d+(?:\.\d+)?`,
  time: String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z`,
  ago: "(?:just now|\\d+ \\w+ ago)",
  spaces: " *",
  any: ".*",
};
const PLACEHOLDER = new RegExp(`<(${Object.keys(PLACEHOLDERS).join("|")})(?::(\\w+))?>`);

/** A written line with the names in it replaced; braces around anything else stay. */
export function fill(line: string, names: Names): string {
  return line.replaceAll(/\{(\w+)\}/g, (whole, name: string) => names.get(name) ?? whole);
}

/**
 * What a program wrote, as stories have it: no colours, no empty lines, one space for any number of any kind, none at
 * the ends.
 */
export function normalise(output: string): ReadonlyArray<string> {
  return (
    output
      // oxlint-disable-next-line no-control-regex -- Colours are control characters.
      .replaceAll(/\u001b\[[0-9;]*m/g, "")
      .split("\n")
      .map(withPlainSpaces)
      .filter((line) => line !== "" && !line.includes("Logs were written to"))
  );
}

/**
 * Compares line by line; `…` is any number of lines. Returns what is wrong, or `undefined`. Placeholders with a name
 * are added to `names`.
 */
export function mismatch(
  actual: ReadonlyArray<string>,
  expected: ReadonlyArray<string>,
  names: Names,
): string | undefined {
  let position = 0;
  let maySkip = false;
  for (const written of expected) {
    const wanted = withPlainSpaces(written);
    if (wanted === ANY_LINES) {
      maySkip = true;
      continue;
    }
    const found = actual.findIndex(
      (line, index) => index >= position && matches(line, wanted, names),
    );
    if (found === -1 || (!maySkip && found !== position)) {
      return `expected '${fill(wanted, names)}', found ${JSON.stringify(actual[position] ?? "the end")}`;
    }
    position = found + 1;
    maySkip = false;
  }
  if (maySkip || position === actual.length) return undefined;
  return `expected the end, found ${JSON.stringify(actual[position])}`;
}

function withPlainSpaces(line: string): string {
  return line.trim().replaceAll(/\s+/g, " ");
}

/** Whether a line is what was written. */
export function matches(line: string, written: string, names: Names): boolean {
  const pieces = fill(written, names).split(new RegExp(PLACEHOLDER, "g"));
  const kept: string[] = [];
  let pattern = "";
  // Between the texts are, for each placeholder, its kind and its name.
  for (const [index, piece] of pieces.entries()) {
    if (index % 3 === 0) pattern += piece.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
    else if (index % 3 === 1) {
      pattern += `(${PLACEHOLDERS[piece] ?? ""})`;
      kept.push(pieces[index + 1] ?? "");
    }
  }
  // The body of an answer has more than one line.
  const match = new RegExp(`^${pattern}$`, "s").exec(line);
  if (match === null) return false;
  for (const [index, name] of kept.entries()) {
    if (name !== "") names.set(name, match[index + 1] ?? "");
  }
  return true;
}
