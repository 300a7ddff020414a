import { RotationError } from '../../src/errors';
import { retry, systemClock, type Clock } from '../../src/retry';
import { fakeClock, inTurn, MINUTE, NOW, SECOND } from './support';

const UNAVAILABLE = new RotationError('SECRET_MANAGER_UNAVAILABLE', 'not available');
const QUOTA = new RotationError('SECRET_MANAGER_QUOTA_EXCEEDED', 'no quota');
const NEVER = Infinity;

function pauseRecorder(): { clock: Clock; pauses: number[] } {
  const clock = fakeClock();
  const pauses: number[] = [];
  const sleep = (ms: number) => {
    pauses.push(ms);
    return clock.sleep(ms);
  };
  return { clock: { ...clock, sleep }, pauses };
}

test('a first success needs no pause', async () => {
  const { clock, pauses } = pauseRecorder();
  await expect(retry(clock, inTurn('done'), () => NOW)).resolves.toBe('done');
  expect(pauses).toEqual([]);
});

test('pauses are short at first, grow, and stay within seconds', async () => {
  const { clock, pauses } = pauseRecorder();
  const attempt = inTurn<string>(...Array<Error>(12).fill(UNAVAILABLE), 'done');
  await expect(retry(clock, attempt, () => NEVER)).resolves.toBe('done');
  expect(pauses).toHaveLength(12);
  expect(pauses[0]).toBeLessThan(0.5 * SECOND);
  expect(pauses).toEqual(pauses.toSorted((a, b) => a - b));
  expect(pauses.at(-1)).toBeGreaterThanOrEqual(2 * SECOND);
  expect(pauses.at(-1)).toBeLessThanOrEqual(10 * SECOND);
});

test('an error that is final ends it at once', async () => {
  const { clock, pauses } = pauseRecorder();
  const final = new RotationError('REFRESH_REFUSED', 'refused');
  await expect(retry(clock, inTurn<string>(final, 'done'), () => NEVER)).rejects.toBe(final);
  expect(pauses).toEqual([]);
});

test('a foreign error is final, also when it is thrown at once', async () => {
  const { clock, pauses } = pauseRecorder();
  const attempt = () => {
    throw new TypeError('planted');
  };
  await expect(retry(clock, attempt, () => NEVER)).rejects.toMatchObject({ code: 'INTERNAL' });
  expect(pauses).toEqual([]);
});

test.each([1, 10, 300])('with a patience of %d s no try begins later', async (seconds) => {
  const { clock } = pauseRecorder();
  const giveUpAt = NOW + seconds * SECOND;
  const tries: number[] = [];
  const attempt = () => {
    tries.push(clock.now());
    return Promise.reject(UNAVAILABLE);
  };
  await expect(retry(clock, attempt, () => giveUpAt)).rejects.toBe(UNAVAILABLE);
  expect(tries.length).toBeGreaterThan(1);
  expect(Math.max(...tries)).toBeLessThanOrEqual(giveUpAt);
});

test('a try is made at the last moment, but not after it', async () => {
  const asked = (retryAfterMs: number) =>
    new RotationError('MOMENTO_LIMIT_EXCEEDED', 'busy', { retryAfterMs });
  const tryOnceMore = (wait: number) =>
    retry(fakeClock(), inTurn<string>(asked(wait), 'done'), () => NOW + MINUTE);
  await expect(tryOnceMore(MINUTE)).resolves.toBe('done');
  await expect(tryOnceMore(MINUTE + 1)).rejects.toMatchObject({ code: 'MOMENTO_LIMIT_EXCEEDED' });
});

test('a service that asks for a longer pause gets it, for that pause', async () => {
  const { clock, pauses } = pauseRecorder();
  const busy = new RotationError('MOMENTO_LIMIT_EXCEEDED', 'busy', { retryAfterMs: MINUTE });
  await retry(clock, inTurn<string>(busy, UNAVAILABLE, 'done'), () => NEVER);
  expect(pauses[0]).toBe(MINUTE);
  expect(pauses[1]).toBeLessThan(SECOND);
});

test('each error has its own patience, and the last one comes out', async () => {
  const { clock, pauses } = pauseRecorder();
  const patience = ({ code }: RotationError) => (code === QUOTA.code ? NEVER : NOW);
  await expect(retry(clock, inTurn<never>(QUOTA, QUOTA, UNAVAILABLE), patience)).rejects.toBe(
    UNAVAILABLE,
  );
  expect(pauses).toHaveLength(2);
});

test('the system clock sleeps for as long as it is told, and tells the time', async () => {
  jest.useFakeTimers({ now: NOW });
  try {
    const asleep = systemClock.sleep(1000);
    let awake = false;
    void asleep.then(() => (awake = true));
    await jest.advanceTimersByTimeAsync(999);
    expect(awake).toBe(false);
    await jest.advanceTimersByTimeAsync(1);
    expect(awake).toBe(true);
    await asleep;
  } finally {
    jest.useRealTimers();
  }
  expect(Math.abs(systemClock.now() - Date.now())).toBeLessThan(1000);
});
