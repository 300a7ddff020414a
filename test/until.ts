/** How long local processes might take on a busy machine. */
const LIMIT = 20_000;

/** Resolves when the condition is true. */
export async function until(condition: () => boolean): Promise<void> {
  const giveUpAt = Date.now() + LIMIT;
  while (!condition()) {
    if (Date.now() > giveUpAt) throw new Error(`never became true: ${condition.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
