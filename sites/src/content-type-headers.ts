import type { AssetManifest } from "@atoll/control-plane/contract";
import { encodePath, parseHeaderRules, type HeaderRule } from "./header-rules.ts";
import { LIMITS } from "./limits.ts";
import { extensionOf, NATIVE_CONTENT_TYPES } from "./native-content-types.ts";

interface TypedFile {
  readonly path: string;
  readonly contentType: string;
}

/**
 * The text of a `_headers` file by which a manifest's files get their content types, where workerd knows
 * none or another for the extension: some fifty it knows, wrangler a thousand. `own` is what the site
 * brought, and goes first where it says something of content types, too.
 *
 * workerd reads 100 rules. A file has a rule of its own while these suffice; otherwise its extension has
 * one, which then also types the page that stands for a missing file of that extension.
 */
export function contentTypeHeaders(
  manifest: AssetManifest,
  own: string | undefined,
): string | undefined {
  const rules = parseHeaderRules(own ?? "");
  const files = untypedFiles(manifest, rules);
  if (files.length === 0) return own;
  const rulesLeft = LIMITS.headerRulesMax - rules.length;
  const newRules = files.filter(({ path }) => ruleFor(path, rules) === undefined).length;
  if (newRules <= rulesLeft) return rulesByFile(files, rules, own ?? "");
  return rulesByExtension(manifest, files).slice(0, Math.max(0, rulesLeft)).join("") + (own ?? "");
}

function untypedFiles(
  manifest: AssetManifest,
  rules: ReadonlyArray<HeaderRule>,
): ReadonlyArray<TypedFile> {
  const typing = rules.filter((rule) => rule.setsContentType);
  return Object.entries(manifest).flatMap(([path, { contentType }]) => {
    if (contentType === undefined || contentType === nativeType(path)) return [];
    // A star in a pattern stands for anything: no pattern means such a path alone.
    if (path.includes("*")) return [];
    // Values of several rules are joined: the site's own would not be the type any more.
    if (typing.some((rule) => rule.mayMatch(path))) return [];
    return [{ path, contentType }];
  });
}

function rulesByFile(
  files: ReadonlyArray<TypedFile>,
  rules: ReadonlyArray<HeaderRule>,
  own: string,
): string {
  const lines = own.split("\n");
  let added = "";
  for (const { path, contentType } of files) {
    const header = `  Content-Type: ${contentType}`;
    const rule = ruleFor(path, rules);
    if (rule === undefined) added += `${encodePath(path)}\n${header}\n`;
    // A second rule for the same path would replace the first.
    else lines[rule.line] += `\n${header}`;
  }
  return added + lines.join("\n");
}

/** One rule for each extension that has one type, those of the most files first. */
function rulesByExtension(
  manifest: AssetManifest,
  files: ReadonlyArray<TypedFile>,
): ReadonlyArray<string> {
  const untyped = Map.groupBy(files, ({ path }) => extensionOf(path));
  const all = Map.groupBy(Object.keys(manifest), extensionOf);
  return [...untyped]
    .filter(([extension, group]) => {
      // Where a file of the extension is typed otherwise, a rule for all of them would be wrong for it.
      const isWhole = all.get(extension)?.length === group.length;
      return extension !== undefined && isWhole && new Set(group.map(typeOf)).size === 1;
    })
    .toSorted(([, one], [, other]) => other.length - one.length)
    .map(([extension, [first]]) => {
      const pattern = `/*.${encodeURIComponent(extension ?? "")}`;
      return `${pattern}\n  Content-Type: ${first?.contentType}\n`;
    });
}

function typeOf(file: TypedFile): string {
  return file.contentType;
}

function nativeType(path: string): string | undefined {
  return NATIVE_CONTENT_TYPES.get(extensionOf(path)?.toLowerCase() ?? "");
}

function ruleFor(path: string, rules: ReadonlyArray<HeaderRule>): HeaderRule | undefined {
  const encoded = encodePath(path);
  // workerd keeps the last of several rules for the same path.
  return rules.findLast(({ exactPath }) => exactPath === encoded);
}
