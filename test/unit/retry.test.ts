import type { Clock } from '../../src/clock';
import { RotationError, type RotationErrorOptions, type ErrorCode } from '../../src/errors';
import { isTransient, retry } from '../../src/retry';
import { HOUR, inTurn, MINUTE, NOW, SECOND, testClock } from './support';

const error = (code: ErrorCode, options?: RotationErrorOptions) =>
  new RotationError(code, { problem: 'Something failed.', action: 'Repair it.' }, options);
const UNAVAILABLE = error('SECRET_MANAGER_UNAVAILABLE');
const QUOTA = error('SECRET_MANAGER_QUOTA_EXCEEDED');
const busy = (retryAfterMs: number) => error('MOMENTO_LIMIT_EXCEEDED', { retryAfterMs });
const NEVER = () => Infinity;

function pauseRecorder() {
  const clock = testClock();
  const pauses: number[] = [];
  const recording: Clock = {
    now: clock.now,
    monotonic: clock.monotonic,
    sleep: (ms) => {
      pauses.push(ms);
      return clock.sleep(ms);
    },
  };
  return { clock: recording, virtual: clock, pauses };
}

test('returns the result without a pause when the first attempt succeeds', async () => {
  const { clock, pauses } = pauseRecorder();
  await expect(retry(clock, inTurn('done'), () => clock.monotonic())).resolves.toBe('done');
  expect(pauses).toEqual([]);
});

test('doubles its pauses from 0.2 s to 5 s', async () => {
  const { clock, pauses } = pauseRecorder();
  const attempt = inTurn<string>(...Array<Error>(8).fill(UNAVAILABLE), 'done');
  await expect(retry(clock, attempt, NEVER)).resolves.toBe('done');
  expect(pauses).toEqual([200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
});

test.each<[string, RotationError]>([
  ['is final', error('REFRESH_REFUSED')],
  ['says that time ran out', error('DEADLINE_EXCEEDED')],
])('fails at once when an error %s', async (_name, final) => {
  const { clock, pauses } = pauseRecorder();
  await expect(retry(clock, inTurn<string>(final, 'done'), NEVER)).rejects.toBe(final);
  expect(pauses).toEqual([]);
  expect(isTransient(final)).toBe(false);
});

test('repeats errors that the caller calls retryable', async () => {
  const { clock } = pauseRecorder();
  const attempt = inTurn<string>(error('CREDENTIALS_UNAVAILABLE'), 'done');
  await expect(retry(clock, attempt, NEVER, () => true)).resolves.toBe('done');
});

test('fails at once with INTERNAL when an attempt throws a foreign error', async () => {
  const { clock, pauses } = pauseRecorder();
  const attempt = () => {
    throw new TypeError('planted');
  };
  await expect(retry(clock, attempt, NEVER)).rejects.toMatchObject({ code: 'INTERNAL' });
  expect(pauses).toEqual([]);
});

test.each([1, 10, 300])('begins no attempt after the %d s that it retries for', async (seconds) => {
  const { clock, virtual } = pauseRecorder();
  const giveUpAt = clock.monotonic() + seconds * SECOND;
  const attempts: number[] = [];
  const attempt = () => {
    attempts.push(clock.monotonic());
    virtual.setWallClock(NOW - HOUR);
    return Promise.reject(UNAVAILABLE);
  };
  await expect(retry(clock, attempt, () => giveUpAt)).rejects.toBe(UNAVAILABLE);
  expect(attempts.length).toBeGreaterThan(1);
  expect(Math.max(...attempts)).toBeLessThanOrEqual(giveUpAt);
});

test('makes an attempt at the last moment, but not after it', async () => {
  const attemptAfter = (wait: number) => {
    const clock = testClock();
    const giveUpAt = clock.monotonic() + MINUTE;
    return retry(clock, inTurn<string>(busy(wait), 'done'), () => giveUpAt);
  };
  await expect(attemptAfter(MINUTE)).resolves.toBe('done');
  await expect(attemptAfter(MINUTE + 1)).rejects.toMatchObject({ code: 'MOMENTO_LIMIT_EXCEEDED' });
});

test('waits as long as Retry-After once, and not in later pauses', async () => {
  const { clock, pauses } = pauseRecorder();
  await retry(clock, inTurn<string>(busy(MINUTE), UNAVAILABLE, 'done'), NEVER);
  expect(pauses).toEqual([MINUTE, 400]);
});

test('applies the limit of the latest error, and throws that error', async () => {
  const { clock, pauses } = pauseRecorder();
  const start = clock.monotonic();
  const giveUpAt = ({ code }: RotationError) => (code === QUOTA.code ? Infinity : start);
  const attempt = inTurn<never>(QUOTA, QUOTA, UNAVAILABLE);
  await expect(retry(clock, attempt, giveUpAt)).rejects.toBe(UNAVAILABLE);
  expect(pauses).toHaveLength(2);
});
