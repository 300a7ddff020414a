import { RotationError } from '../../src/errors';
import { retry, systemClock, type Clock } from '../../src/retry';
import { fakeClock, inTurn, NOW } from './support';

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

test('pauses double from 0.2 s to 5 s', async () => {
  const { clock, pauses } = pauseRecorder();
  const attempt = inTurn<string>(...Array<Error>(8).fill(UNAVAILABLE), 'done');
  await expect(retry(clock, attempt, () => NEVER)).resolves.toBe('done');
  expect(pauses).toEqual([200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
});

test('an error that is final ends it at once', async () => {
  const { clock, pauses } = pauseRecorder();
  const final = new RotationError('REFRESH_REFUSED', 'refused');
  await expect(retry(clock, inTurn<string>(final, 'done'), () => NEVER)).rejects.toBe(final);
  expect(pauses).toEqual([]);
});

test('a foreign error is final, also when it is thrown at once', async () => {
  const { clock } = pauseRecorder();
  const attempt = () => {
    throw new TypeError('planted');
  };
  await expect(retry(clock, attempt, () => NEVER)).rejects.toMatchObject({ code: 'INTERNAL' });
});

test.each([
  ['at the last moment', 1400, 3, 'done'],
  ['but not after it', 1399, 2, UNAVAILABLE],
])('another try is made %s', async (_name, patience, pauseCount, outcome) => {
  const { clock, pauses } = pauseRecorder();
  const attempt = inTurn<string>(UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, 'done');
  const result = await retry(clock, attempt, () => NOW + patience).catch((e: unknown) => e);
  expect(result).toBe(outcome);
  expect(pauses).toHaveLength(pauseCount);
});

test('each error has its own patience, and the last one comes out', async () => {
  const { clock, pauses } = pauseRecorder();
  const patience = ({ code }: RotationError) => (code === QUOTA.code ? NEVER : NOW);
  await expect(retry(clock, inTurn<never>(QUOTA, QUOTA, UNAVAILABLE), patience)).rejects.toBe(
    UNAVAILABLE,
  );
  expect(pauses).toEqual([200, 400]);
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
