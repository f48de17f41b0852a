/** What a namespace held at a revision, and going back to it. */
export { entriesAt } from "./entries-at.ts";
export { restoreSome, type RestoreSummary } from "./restore.ts";
/** Whether an origin is what it says. */
export { checkNamespace } from "./namespace-check.ts";
/** A namespace as lines of JSON. */
export {
  dumpLine,
  parseDumpLine,
  type DumpedEntry,
  type DumpEnd,
  type DumpHead,
  type DumpLine,
} from "./dump-line.ts";
export { linesOf } from "./lines.ts";
/** What belongs to a copy of an origin's file. */
export { valuesNamedIn } from "../origin/sqlite-value-names.ts";
