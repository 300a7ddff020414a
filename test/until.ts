/** Resolves when the condition is true. Rejects after a time that is long for local processes. */
export async function until(condition: () => boolean, withinMs = 3000): Promise<void> {
  const giveUpAt = Date.now() + withinMs;
  while (!condition()) {
    if (Date.now() > giveUpAt) throw new Error(`never became true: ${condition.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
