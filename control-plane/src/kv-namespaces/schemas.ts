import { NamespaceId } from "@atoll/kv-store";
import { z } from "zod";
import type { AccountId } from "../contract/index.ts";
import { ControlPlaneError } from "../errors.ts";
import { LIMITS } from "../limits.ts";

export interface Namespace {
  readonly id: NamespaceId;
  readonly title: string;
}

/** A namespace is found only within its account. */
export interface NamespaceAddress {
  readonly account: AccountId;
  readonly id: NamespaceId;
}

// What a client asks beyond a title, such as a jurisdiction, would be dropped silently: it is refused.
const TitleBody = z.strictObject({ title: z.unknown().optional() });
export const TitleRequest = TitleBody.transform(({ title }) => ({ title: parseTitle(title) }));
export type TitleRequest = z.infer<typeof TitleRequest>;

/** A title is for people: any text, which wrangler finds a namespace by. */
function parseTitle(title: unknown): string {
  if (typeof title !== "string" || title.trim() === "") {
    throw titleError("A namespace needs a title: a text that is not empty");
  }
  if (title.length > LIMITS.namespaceTitleCharactersMax) {
    throw titleError(
      `The title '${title.slice(0, 40)}…' has ${title.length} characters, over the limit of ${LIMITS.namespaceTitleCharactersMax}`,
    );
  }
  if (!title.isWellFormed() || /\p{Cc}/u.test(title)) {
    throw titleError(`The title ${JSON.stringify(title.slice(0, 40))} has control characters`);
  }
  return title;
}

function titleError(message: string): ControlPlaneError {
  return new ControlPlaneError("namespace_title_invalid", message);
}

/** Query of a listing. Unknown fields are refused: a filter that is ignored lists too much. */
export const NamespaceQuery = z.strictObject({
  page: pageNumber({ max: 1_000_000 }).default(1),
  per_page: pageNumber({ max: LIMITS.namespacePageRowsMax }).default(LIMITS.namespacePageRows),
  order: z.enum(["id", "title"]).default("id"),
  direction: z.enum(["asc", "desc"]).default("asc"),
});
export type NamespaceQuery = z.infer<typeof NamespaceQuery>;

function pageNumber({ max }: { readonly max: number }) {
  const rule = `expected a number from 1 to ${max}`;
  return z
    .string()
    .regex(/^\d{1,9}$/, rule)
    .transform(Number)
    .pipe(z.number().min(1, rule).max(max, rule));
}

/** An id as a path gives it. Rejected with `namespace_id_invalid`. */
export function parseNamespaceId(text: string): NamespaceId {
  const id = NamespaceId.safeParse(text);
  if (id.success) return id.data;
  throw new ControlPlaneError(
    "namespace_id_invalid",
    `'${text.slice(0, 64)}' is no namespace id: those are 32 lower-case hexadecimal digits`,
  );
}
