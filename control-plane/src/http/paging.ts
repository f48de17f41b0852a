import type { ResultInfo } from "./envelope.ts";

/** One page of a list that is held whole, and what tells the caller how it goes on. */
export function pageOf<Item>(
  all: ReadonlyArray<Item>,
  { page, per_page: perPage }: { readonly page: number; readonly per_page: number },
): { readonly items: ReadonlyArray<Item>; readonly info: ResultInfo } {
  const items = all.slice((page - 1) * perPage, page * perPage);
  return {
    items,
    info: { page, per_page: perPage, count: items.length, total_count: all.length },
  };
}
