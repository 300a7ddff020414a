/** Measures how long a service needs until a condition is true. */
import { MINUTE, SECOND } from '../../src/duration';
import type { Clock } from '../../src/clock';
import type { Observed } from './assumption';

/**
 * Checks a condition until it is true.
 *
 * @returns when the first true check began, in milliseconds since the first check; undefined if no check was true in time
 */
export async function wait(
  clock: Clock,
  limitMs: number,
  condition: () => Promise<boolean>,
): Promise<number | undefined> {
  const from = clock.monotonic();
  let isFirst = true;
  for (let pause = 0.25 * SECOND; ; pause = Math.min(pause * 2, 5 * SECOND)) {
    const checkedAfter = isFirst ? 0 : clock.monotonic() - from;
    if (await condition()) return checkedAfter;
    if (clock.monotonic() + pause > from + limitMs) return undefined;
    isFirst = false;
    await clock.sleep(pause);
  }
}

/** Returns `at once`, or how long the condition took to become true. */
export async function howSoon(clock: Clock, condition: () => Promise<boolean>): Promise<string> {
  const took = await wait(clock, MINUTE, condition);
  if (took === undefined) return 'not within a minute';
  return took === 0 ? 'at once' : after(took);
}

/** Whether the condition became true within a limit, with the time that it took. */
export async function inTime(
  clock: Clock,
  limitMs: number,
  condition: () => Promise<boolean>,
): Promise<Observed> {
  const took = await wait(clock, limitMs, condition);
  const limit = limitMs < MINUTE ? `${limitMs / SECOND} s` : `${limitMs / MINUTE} min`;
  if (took === undefined) return `not within ${limit}`;
  return { is: `within ${limit}`, detail: took === 0 ? 'at once' : after(took) };
}

function after(ms: number): string {
  return `after ${(ms / SECOND).toFixed(1)} s`;
}
