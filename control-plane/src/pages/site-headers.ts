import type { Environment } from "./schemas.ts";

/** What Pages answers files with, unless the site says otherwise. */
const FILE_HEADERS = {
  "Access-Control-Allow-Origin": "*",
  "Referrer-Policy": "strict-origin-when-cross-origin",
  "X-Content-Type-Options": "nosniff",
} as const;

/** No search engine is to find what is only looked at. */
const PREVIEW_HEADERS = { "X-Robots-Tag": "noindex" } as const;

/**
 * The text of `_headers` with what Pages adds. Two rules that set the same header would send both values, so a header
 * that the site's own text names anywhere is left to it. Of two rules with the same path only the last one counts, so
 * what is added joins the site's own rule for everything.
 */
export function siteHeaders(own: string | undefined, environment: Environment): string {
  const headers = { ...FILE_HEADERS, ...(environment === "preview" ? PREVIEW_HEADERS : {}) };
  const text = own ?? "";
  // workerd reads a header without a blank in front of it, too.
  const added = Object.entries(headers)
    .filter(
      ([name]) => !new RegExp(String.raw`^[ \t]*(![ \t]*)?${name}[ \t]*(:|$)`, "im").test(text),
    )
    .map(([name, value]) => `  ${name}: ${value}`);
  if (added.length === 0) return text;
  const lines = text.split(/\r?\n/);
  const everything = lines.findLastIndex((line) => line.trim() === "/*");
  if (everything === -1) return [...(text === "" ? [] : lines), "/*", ...added, ""].join("\n");
  return lines.toSpliced(everything + 1, 0, ...added).join("\n");
}
