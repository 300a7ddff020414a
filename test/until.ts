/** Resolves when something has become true; rejects if it doesn't within a time that is long for anything local. */
export async function until(condition: () => boolean, withinMs = 3000): Promise<void> {
  const giveUpAt = Date.now() + withinMs;
  while (!condition()) {
    if (Date.now() > giveUpAt) throw new Error(`never became true: ${condition.toString()}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
