import { systemClock, withDeadline } from '../../src/clock';
import { HOUR, MINUTE, NOW, SECOND, testClock } from './support';

describe('systemClock', () => {
  beforeEach(() => jest.useFakeTimers({ now: NOW }));
  afterEach(() => jest.useRealTimers());

  test('returns the time of day', () => {
    expect(Math.abs(systemClock.now() - jest.getRealSystemTime())).toBeLessThan(MINUTE);
  });

  test("returns a monotonic time that isn't set back with the time of day", () => {
    const before = systemClock.monotonic();
    jest.setSystemTime(NOW - HOUR);
    jest.advanceTimersByTime(SECOND);
    expect(systemClock.monotonic() - before).toBe(SECOND);
  });

  test('sleeps for the given time', async () => {
    let isAwake = false;
    void systemClock.sleep(1000).then(() => (isAwake = true));
    await jest.advanceTimersByTimeAsync(999);
    expect(isAwake).toBe(false);
    await jest.advanceTimersByTimeAsync(1);
    expect(isAwake).toBe(true);
  });

  test.each([true, false])(
    'wakes when its signal aborts (before the sleep: %s)',
    async (isBefore) => {
      const controller = new AbortController();
      if (isBefore) controller.abort();
      const asleep = systemClock.sleep(1000, controller.signal);
      controller.abort();
      await asleep;
      expect(jest.getTimerCount()).toBe(0);
    },
  );
});

describe('withDeadline', () => {
  const late = () => Promise.resolve('late');

  test('settles as the work does when that is in time, and leaves no timer', async () => {
    const clock = testClock();
    const deadline = clock.monotonic() + SECOND;
    const work = clock.sleep(SECOND - 1).then(() => 'done');
    await expect(withDeadline(clock, deadline, work, late)).resolves.toBe('done');
    const failing = Promise.reject(new Error('failed'));
    await expect(withDeadline(clock, deadline, failing, late)).rejects.toThrow('failed');
    expect(clock.sleepers).toBe(0);
  });

  test.each([0, SECOND])(
    'settles at its deadline in %d ms when the work takes longer',
    async (ms) => {
      const clock = testClock();
      const start = clock.monotonic();
      const work = new Promise<string>(() => undefined);
      await expect(withDeadline(clock, start + ms, work, late)).resolves.toBe('late');
      expect(clock.monotonic() - start).toBe(ms);
    },
  );

  test('is late at once when the deadline has passed', async () => {
    const clock = testClock();
    const work = new Promise<string>(() => undefined);
    await expect(withDeadline(clock, clock.monotonic() - SECOND, work, late)).resolves.toBe('late');
  });
});
