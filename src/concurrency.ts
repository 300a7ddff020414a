/** Like `Promise.all` over a `map`, with at most `limit` calls under way. */
export async function mapConcurrently<T, R>(
  limit: number,
  items: readonly T[],
  call: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  const remaining = items.entries();
  const worker = async (): Promise<void> => {
    for (const [index, item] of remaining) results[index] = await call(item);
  };
  await Promise.all(Array.from({ length: limit }, worker));
  return results;
}
