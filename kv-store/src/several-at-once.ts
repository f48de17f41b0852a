/** Resolves when all of it has ended well; rejected with the first fault, once nothing of it is under way any more. */
export async function allOver(work: Iterable<Promise<unknown>>): Promise<void> {
  const failed = (await Promise.allSettled(work)).find(({ status }) => status === "rejected");
  if (failed?.status === "rejected") throw failed.reason;
}

/** Acts on so many items at a time, and ends as `allOver` does. What failed keeps no other item from its turn. */
export async function severalAtOnce<Item>(
  items: Iterable<Item>,
  countMax: number,
  action: (item: Item) => Promise<void>,
): Promise<void> {
  // Each takes from the same iterator, so every item is taken once.
  const queue = Iterator.from(items);
  const takers = Array.from({ length: countMax }, async () => {
    for (const item of queue) await action(item);
  });
  await allOver(takers);
}
