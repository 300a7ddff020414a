import { toRotationError, type RotationError } from './errors';

/** Time as a parameter: nothing in the core reads the wall clock. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number;
  sleep(ms: number): Promise<void>;
}

export const systemClock: Clock = {
  now: Date.now,
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
};

const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 5_000;

/**
 * Calls `attempt` until it succeeds, fails with an error that does not pass, or `giveUpAt` of its error has passed.
 * The pauses double from 0.2 s to 5 s; a service that asks for a longer one gets it.
 *
 * @param giveUpAt for a failed attempt, the time (epoch ms) after which no new one is started
 * @param mayPass whether an error is worth another attempt
 * @throws the RotationError of the last attempt
 */
export async function retry<T>(
  clock: Clock,
  attempt: () => Promise<T>,
  giveUpAt: (error: RotationError) => number,
  mayPass = ({ retryable }: RotationError): boolean => retryable,
): Promise<T> {
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
    try {
      return await attempt();
    } catch (thrown) {
      const error = toRotationError(thrown);
      const wait = Math.max(pause, error.retryAfterMs);
      if (!mayPass(error) || clock.now() + wait > giveUpAt(error)) throw error;
      await clock.sleep(wait);
    }
  }
}
