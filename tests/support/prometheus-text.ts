import assert from "node:assert/strict";

/** The samples of each metric, by their labels as they are written; `""` without any. */
export type Metrics = ReadonlyMap<string, ReadonlyMap<string, number>>;

const NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const LABEL = String.raw`[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"`;
const SAMPLE = new RegExp(
  String.raw`^(${NAME})(?:\{(${LABEL}(?:,${LABEL})*)\})? (-?[0-9.]+(?:e[+-]?[0-9]+)?|[+-]Inf|NaN)$`,
);

/**
 * Reads the text format of Prometheus (version 0.0.4) as strictly as its description: each metric once, with
 * its help and its type before its samples, no sample twice. Throws what is wrong with it.
 */
export function parsePrometheusText(text: string): Metrics {
  assert.ok(text.endsWith("\n"), "the last line has no end");
  const metrics = new Map<string, Map<string, number>>();
  let described = "";
  let type = "";
  for (const line of text.split("\n").filter((each) => each !== "")) {
    const help = new RegExp(`^# HELP (${NAME}) .+$`).exec(line)?.[1];
    const typed = new RegExp(`^# TYPE (${NAME}) (counter|gauge|histogram)$`).exec(line);
    if (help !== undefined) {
      assert.ok(!metrics.has(help), `${help} comes twice`);
      metrics.set(help, new Map());
      [described, type] = [help, ""];
    } else if (typed !== null) {
      assert.equal(typed[1], described, "a type without its help before it");
      type = typed[2] ?? "";
      if (type === "counter") assert.match(described, /_total$/);
    } else {
      const [, name = "", labels = "", value = ""] = SAMPLE.exec(line) ?? [];
      assert.ok(name !== "", `no sample: ${line}`);
      const suffix = type === "histogram" ? /^(_bucket|_sum|_count)$/ : /^$/;
      assert.ok(name.startsWith(described), `${name} is not below its type`);
      assert.match(name.slice(described.length), suffix);
      const samples = metrics.get(name) ?? new Map<string, number>();
      metrics.set(name, samples);
      assert.ok(!samples.has(labels), `${name}{${labels}} comes twice`);
      samples.set(labels, value.endsWith("Inf") ? Number(`${value}inity`) : Number(value));
    }
  }
  return metrics;
}
