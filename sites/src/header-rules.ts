import { LIMITS } from "./limits.ts";

/** One rule of a `_headers` file, as far as it matters to content types. */
export interface HeaderRule {
  /** Number of the line that holds the pattern. */
  readonly line: number;
  /** Whether the rule may be for the file at this path of a manifest: sometimes also when it is not. */
  readonly mayMatch: (path: string) => boolean;
  /** The rule is for one path only, whatever the host: this one, in the form of `encodePath`. */
  readonly exactPath: string | undefined;
  readonly setsContentType: boolean;
}

/** The rules in the text of a `_headers` file, in their order, as far as workerd reads them. */
export function parseHeaderRules(text: string): ReadonlyArray<HeaderRule> {
  const rules: Array<{ line: number; text: string; setsContentType: boolean }> = [];
  for (const [line, raw] of text.split("\n").entries()) {
    const content = raw.trim();
    if (/^(\/|https?:\/\/)/.test(content)) {
      rules.push({ line, text: content, setsContentType: false });
    } else if (/^content-type\s*:/i.test(content)) {
      const rule = rules.at(-1);
      if (rule !== undefined) rule.setsContentType = true;
    }
  }
  return rules.slice(0, LIMITS.headerRulesMax).map(({ line, text: whole, setsContentType }) => {
    // A pattern may be for one host only, and a site may have several.
    const pattern = whole.replace(/^https?:\/\/[^/]*/, "");
    const isForEveryHost = pattern === whole;
    const exactPath = isForEveryHost && isExact(pattern) ? encodePath(decode(pattern)) : undefined;
    return { line, setsContentType, mayMatch: matcher(pattern), exactPath };
  });
}

/** A path as the pattern that matches it and nothing else. */
export function encodePath(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/");
}

// A splat, or a placeholder such as `:name`.
const WILDCARD = /\*|:[A-Za-z]\w*/;

function isExact(pattern: string): boolean {
  return !WILDCARD.test(pattern);
}

// What is between two wildcards is not looked at: a tenant wrote the pattern, and this takes linear time.
function matcher(pattern: string): (path: string) => boolean {
  const parts = decode(pattern).split(WILDCARD);
  const start = parts[0] ?? "";
  const end = parts.at(-1) ?? "";
  if (parts.length === 1) return (path) => path === start;
  return (path) =>
    path.length >= start.length + end.length && path.startsWith(start) && path.endsWith(end);
}

function decode(pattern: string): string {
  try {
    return decodeURIComponent(pattern);
  } catch {
    // A lone percent sign: the pattern means itself.
    return pattern;
  }
}
