// Writes docs/errors.md from the packages' error tables: `node scripts/launch.mjs scripts/error-document.ts`.
// A test compares the file with what this makes.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CONTROL_PLANE_ERRORS } from "@atoll/control-plane";
import { EDGE_ERRORS } from "@atoll/edge-runtime";
import { KV_ERRORS } from "@atoll/kv-store";
import { SITE_ERRORS } from "@atoll/sites";

interface ErrorRow {
  readonly meaning: string;
  readonly status?: number;
  readonly retryable?: boolean;
  readonly cloudflareCode?: number;
}

export const ERROR_DOCUMENT = join(import.meta.dirname, "..", "docs", "errors.md");

const SECTIONS: ReadonlyArray<{
  readonly title: string;
  readonly text: string;
  readonly table: Readonly<Record<string, ErrorRow>>;
}> = [
  {
    title: "Control plane",
    text: "Answers of `/client/v4` carry the number in `errors[0].code`, which wrangler decides by, and the request's id in `x-request-id`.",
    table: CONTROL_PLANE_ERRORS,
  },
  {
    title: "Node",
    text: "The ingress answers with a page that names the code and the ray; the log of the node has the cause.",
    table: EDGE_ERRORS,
  },
  {
    title: "Key-value store",
    text: "A worker sees these as the message of what `env.KV` throws; the API answers with the same words.",
    table: KV_ERRORS,
  },
  {
    title: "Static files",
    text: "Reasons why a node does not take a version with static files; `atoll status` shows them.",
    table: SITE_ERRORS,
  },
];

/** The document's text. */
export function errorDocument(): string {
  const head =
    "# Error codes\n\nEvery code that Atoll reports. *Retry*: the same call, unchanged, may succeed later.\n";
  return [head, ...SECTIONS.map(section)].join("\n");
}

function section({ title, text, table }: (typeof SECTIONS)[number]): string {
  const rows = Object.entries(table).map(([code, row]) => {
    const cells = [`\`${code}\``, row.status, row.cloudflareCode, row.retryable ? "yes" : "no"];
    return `| ${[...cells.map((cell) => cell ?? ""), sentence(row.meaning)].join(" | ")} |`;
  });
  const columns = "| code | status | number | retry | meaning |\n|---|---|---|---|---|";
  return `## ${title}\n${text}\n\n${columns}\n${rows.join("\n")}\n`;
}

/** The tables of some packages have phrases, those of others sentences: a document has sentences. */
function sentence(meaning: string): string {
  const text = meaning.replaceAll("|", "\\|").replace(/\.?$/, ".");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

if (process.argv[1] === import.meta.filename) await writeFile(ERROR_DOCUMENT, errorDocument());
