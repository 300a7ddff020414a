/** Bounded concurrency. */
import { withDeadline, type Clock } from './clock';
import { deadlineExceeded, type RotationError } from './errors';

/** Like `Promise.all` over a `map`, with at most `limit` calls in progress. After a failure no further call begins. */
export async function mapConcurrently<T, R>(
  limit: number,
  items: readonly T[],
  call: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  const remaining = items.entries();
  let failed = false;
  const worker = async (): Promise<void> => {
    for (const [index, item] of remaining) {
      if (failed) return;
      try {
        results[index] = await call(item);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: limit }, worker));
  return results;
}

/** Limits how many calls are in progress. Waiting calls begin in the order in which they arrived. */
export class ConcurrencyLimiter {
  readonly #clock: Clock;
  readonly #service: string;
  readonly #queue = new Set<() => void>();
  #free: number;

  /** @param service the name of the called service, for the error message */
  constructor(clock: Clock, limit: number, service: string) {
    this.#clock = clock;
    this.#free = limit;
    this.#service = service;
  }

  /**
   * Makes a call when fewer than `limit` others are in progress.
   *
   * @param deadline on the monotonic clock. A call that can't begin by then fails with DEADLINE_EXCEEDED
   */
  async run<T>(deadline: number, call: () => Promise<T>): Promise<T> {
    if (this.#clock.monotonic() > deadline) throw this.#deadlineExceeded();
    if (this.#free === 0) await this.#waitForPlace(deadline);
    else this.#free -= 1;
    try {
      return await call();
    } finally {
      this.#release();
    }
  }

  async #waitForPlace(deadline: number): Promise<void> {
    let begin = (): void => undefined;
    const place = new Promise<void>((resolve) => {
      begin = resolve;
      this.#queue.add(begin);
    });
    await withDeadline(this.#clock, deadline, place, () => {
      // If a place got free at the last moment, the call uses it.
      if (this.#queue.delete(begin)) throw this.#deadlineExceeded();
    });
  }

  /** Gives the place of a finished call to the next call in the queue. */
  #release(): void {
    const [next] = this.#queue;
    if (next === undefined) {
      this.#free += 1;
      return;
    }
    this.#queue.delete(next);
    next();
  }

  #deadlineExceeded(): RotationError {
    return deadlineExceeded(
      `A call to ${this.#service} couldn't begin before the deadline of this run, because too many other calls were in progress.`,
    );
  }
}
