/** One row of HAProxy's statistics, by the names of its columns. */
export type StatisticsRow = Readonly<Record<string, string>>;

/** Reads the answer to `show stat`. */
export function parseStatistics(answer: string): ReadonlyArray<StatisticsRow> {
  const [head = "", ...lines] = answer.trim().split("\n");
  const names = head.replace(/^# /, "").split(",");
  return lines
    .filter((line) => line !== "")
    .map((line) => {
      const values = line.split(",");
      return Object.fromEntries(names.map((name, index) => [name, values[index] ?? ""]));
    });
}

export function countOf(row: StatisticsRow | undefined, column: string): number {
  return Number(row?.[column] ?? 0);
}
