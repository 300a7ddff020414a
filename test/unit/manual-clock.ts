import type { Clock } from '../../src/clock';

/** Time that a test moves. Sleeping calls wake in the order of their times. */
export class ManualClock implements Clock {
  wallOffset = 0;
  #monotonic = 1000;
  #sleepers: { at: number; wake: () => void }[] = [];

  now = (): number => this.#monotonic + this.wallOffset;
  monotonic = (): number => this.#monotonic;

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const sleeper = { at: this.#monotonic + ms, wake: resolve };
      this.#sleepers.push(sleeper);
      signal?.addEventListener('abort', () => {
        this.#sleepers = this.#sleepers.filter((other) => other !== sleeper);
        resolve();
      });
    });
  }

  async advance(ms: number): Promise<void> {
    const end = this.#monotonic + ms;
    await settled();
    for (;;) {
      const [next] = this.#sleepers.toSorted((a, b) => a.at - b.at);
      if (next === undefined || next.at > end) break;
      this.#sleepers = this.#sleepers.filter((other) => other !== next);
      this.#monotonic = Math.max(this.#monotonic, next.at);
      next.wake();
      await settled();
    }
    this.#monotonic = end;
  }
}

/** Resolves when every promise that can settle without time or a network has settled. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
