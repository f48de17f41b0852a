import { expect, test } from "vitest";
import type { Benchmark, Figure } from "./benchmark.ts";
import { formatTable, type Result } from "./table.ts";

function benchmark(name: string): Benchmark {
  return { name, subject: `what ${name} measures`, run: () => Promise.reject(new Error("unused")) };
}

function measured(...figures: ReadonlyArray<Figure>): Result {
  return { kind: "measured", outcome: { settings: { rounds: 3 }, figures, samples: {} } };
}

test("table: figures stand in columns, with settings, and what missed its target stays in", () => {
  const table = formatTable(
    new Map([
      [
        benchmark("one"),
        measured(
          { name: "fast", value: 12.345, unit: "ms", atMost: 30 },
          { name: "much too slow", value: 31, unit: "ms", atMost: 30 },
          { name: "many", value: 0.5, unit: "×", atLeast: 0.9 },
          { name: "how often", value: 12_345, unit: "count" },
        ),
      ],
    ]),
  );
  expect(table.split("\n")).toEqual([
    "",
    "one: what one measures",
    "  fast            12.3  ms  ✔ wanted: at most 30 ms",
    "  much too slow     31  ms  ✘ wanted: at most 30 ms",
    "  many           0.500  ×   ✘ wanted: at least 0.9 ×",
    "  how often      12345",
    "  with rounds 3",
  ]);
});

test("table: a benchmark that broke says why, beside those that did not", () => {
  const table = formatTable(
    new Map<Benchmark, Result>([
      [benchmark("broken"), { kind: "failed", reason: "no workerd" }],
      [benchmark("fine"), measured({ name: "failures", value: 0, unit: "count", atMost: 0 })],
    ]),
  );
  expect(table).toContain("broken: what broken measures\n  ✘ failed: no workerd");
  expect(table).toMatch(/failures +0 +✔ wanted: at most 0$/m);
});
