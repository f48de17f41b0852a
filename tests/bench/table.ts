import type { Benchmark, Figure, Outcome } from "./benchmark.ts";

/** What became of one benchmark of a run. */
export type Result =
  | { readonly kind: "measured"; readonly outcome: Outcome }
  | { readonly kind: "failed"; readonly reason: string };

/** One table of all results, in which what missed its target stands like everything else. */
export function formatTable(results: ReadonlyMap<Benchmark, Result>): string {
  const rows = [...results.values()].flatMap((result) =>
    result.kind === "measured" ? result.outcome.figures.map(cells) : [],
  );
  const widths = [0, 1, 2].map((column) => Math.max(0, ...rows.map((row) => width(row, column))));
  const lines = [...results].flatMap(([benchmark, result]) => [
    "",
    `${benchmark.name}: ${benchmark.subject}`,
    ...(result.kind === "failed"
      ? [`  ✘ failed: ${result.reason}`]
      : [
          ...result.outcome.figures.map((figure) => formatRow(cells(figure), widths)),
          ...(result.outcome.remarks ?? []).map((remark) => `  ${remark}`),
          `  with ${formatSettings(result.outcome.settings)}`,
        ]),
  ]);
  return lines.join("\n");
}

type Row = readonly [name: string, value: string, unit: string, verdict: string];

function cells(figure: Figure): Row {
  const { name, value, unit } = figure;
  const shownUnit = unit === "count" ? "" : unit;
  return [name, formatNumber(value), shownUnit, verdictOf(figure, shownUnit)];
}

function verdictOf({ value, atMost, atLeast }: Figure, shownUnit: string): string {
  const bounds = [
    ...(atMost === undefined ? [] : [{ isMet: value <= atMost, text: `at most ${atMost}` }]),
    ...(atLeast === undefined ? [] : [{ isMet: value >= atLeast, text: `at least ${atLeast}` }]),
  ];
  return bounds
    .map(({ isMet, text }) => `${isMet ? "✔" : "✘"} wanted: ${text} ${shownUnit}`.trimEnd())
    .join(", ");
}

function formatRow([name, value, unit, verdict]: Row, widths: ReadonlyArray<number>): string {
  const [nameWidth = 0, valueWidth = 0, unitWidth = 0] = widths;
  const columns = [name.padEnd(nameWidth), value.padStart(valueWidth), unit.padEnd(unitWidth)];
  return `  ${columns.join("  ")}  ${verdict}`.trimEnd();
}

function formatSettings(settings: Outcome["settings"]): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");
}

function width(row: Row, column: number): number {
  return row[column]?.length ?? 0;
}

/** Three digits that count: more would be noise. Counts and large numbers are shown in full. */
function formatNumber(value: number): string {
  if (Number.isInteger(value) || Math.abs(value) >= 100) return String(Math.round(value));
  return value.toPrecision(3);
}
