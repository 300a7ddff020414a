/** How long it takes until something has become so. */
import { MINUTE, SECOND } from '../../src/duration';
import type { Clock } from '../../src/clock';
import type { Observed } from './assumption';

/**
 * Asks until the answer is the one that is waited for.
 *
 * @returns after how many milliseconds it was asked for; undefined if it never was
 */
export async function wait(
  clock: Clock,
  patienceMs: number,
  isSo: () => Promise<boolean>,
): Promise<number | undefined> {
  const from = clock.monotonic();
  let isFirst = true;
  for (let pause = 0.25 * SECOND; ; pause = Math.min(pause * 2, 5 * SECOND)) {
    const askedAfter = isFirst ? 0 : clock.monotonic() - from;
    if (await isSo()) return askedAfter;
    if (clock.monotonic() + pause > from + patienceMs) return undefined;
    isFirst = false;
    await clock.sleep(pause);
  }
}

/** `at once`, or how long it took. */
export async function howSoon(clock: Clock, isSo: () => Promise<boolean>): Promise<string> {
  const took = await wait(clock, MINUTE, isSo);
  if (took === undefined) return 'not within a minute';
  return took === 0 ? 'at once' : after(took);
}

/** `within` so many seconds or minutes, with how long it took. */
export async function inTime(
  clock: Clock,
  limitMs: number,
  isSo: () => Promise<boolean>,
): Promise<Observed> {
  const took = await wait(clock, limitMs, isSo);
  const limit = limitMs < MINUTE ? `${limitMs / SECOND} s` : `${limitMs / MINUTE} min`;
  if (took === undefined) return `not within ${limit}`;
  return { is: `within ${limit}`, detail: took === 0 ? 'at once' : after(took) };
}

function after(ms: number): string {
  return `after ${(ms / SECOND).toFixed(1)} s`;
}
