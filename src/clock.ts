/** Time as a parameter: nothing but `systemClock` reads the time of the machine. All values are in milliseconds. */

export interface Clock {
  /** Milliseconds since the epoch, for times that are stored or logged. This clock can be set back. */
  now(): number;
  /** The time since some moment in the past, which never goes back: for deadlines and rates. */
  monotonic(): number;
  /** Resolves after `ms`, or as soon as `signal` aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: Date.now,
  monotonic: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted === true) {
        resolve();
        return;
      }
      const end = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', end);
        resolve();
      };
      const timer = setTimeout(end, ms);
      signal?.addEventListener('abort', end, { once: true });
    }),
};

/**
 * Settles like `work`. If `work` isn't done at `deadline`, settles like `late()`; `work` continues.
 *
 * @param deadline on the monotonic clock
 */
export async function withDeadline<T>(
  clock: Clock,
  deadline: number,
  work: Promise<T>,
  late: () => T | Promise<T>,
): Promise<T> {
  const done = new AbortController();
  const timeout = clock
    .sleep(Math.max(0, deadline - clock.monotonic()), done.signal)
    .then(() => (done.signal.aborted ? work : late()));
  try {
    return await Promise.race([work, timeout]);
  } finally {
    done.abort();
  }
}
