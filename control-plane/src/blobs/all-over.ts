/** Resolves when all of it has ended well; rejected with the first fault, once nothing of it is under way any more. */
export async function allOver(work: Iterable<Promise<unknown>>): Promise<void> {
  const failed = (await Promise.allSettled(work)).find(({ status }) => status === "rejected");
  if (failed?.status === "rejected") throw failed.reason;
}
