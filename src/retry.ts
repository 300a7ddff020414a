import type { Clock } from './clock';
import { toRotationError, type RotationError } from './errors';

const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 5_000;

/** Whether another attempt can help. After DEADLINE_EXCEEDED, no later attempt has more time. */
export function isTransient({ code, retryable }: RotationError): boolean {
  return retryable && code !== 'DEADLINE_EXCEEDED';
}

/**
 * Calls `attempt` until it succeeds, fails with an error that isn't retryable, or until `giveUpAt` has passed. The pauses
 * double from 0.2 s to 5 s. If a service requests a longer pause, that pause is used.
 *
 * @param giveUpAt returns the monotonic time after which no attempt starts, from the error of the last attempt
 * @param isRetryable whether an error is worth another attempt
 * @throws the RotationError of the last attempt
 */
export async function retry<T>(
  clock: Clock,
  attempt: () => Promise<T>,
  giveUpAt: (error: RotationError) => number,
  isRetryable = isTransient,
): Promise<T> {
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
    try {
      return await attempt();
    } catch (thrown) {
      const error = toRotationError(thrown);
      const wait = Math.max(pause, error.retryAfterMs);
      if (!isRetryable(error) || clock.monotonic() + wait > giveUpAt(error)) throw error;
      await clock.sleep(wait);
    }
  }
}
