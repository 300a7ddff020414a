import type { Clock } from '../src/retry';

/**
 * Real time, in which nobody has to wait: a sleep is over at once, and moves the clock. Sleeps at the same time move it
 * once, as they would real time.
 */
export class SkippingClock implements Clock {
  #skipped = 0;

  readonly now = (): number => Date.now() + this.#skipped;

  async sleep(ms: number): Promise<void> {
    const end = this.now() + ms;
    // What is under way goes on first.
    await new Promise((resolve) => setImmediate(resolve));
    this.advance(Math.max(0, end - this.now()));
  }

  advance(ms: number): void {
    this.#skipped += ms;
  }
}
