import { GracefulShutdown } from '../../src/shutdown';

const SIGNALS = ['SIGTERM', 'SIGINT'] as const;

describe.each(SIGNALS)('%s', (signal) => {
  const exit = jest.fn();
  let shutdown: GracefulShutdown;

  beforeEach(() => {
    for (const name of SIGNALS) process.removeAllListeners(name);
    exit.mockClear();
    shutdown = new GracefulShutdown();
    // As functions-framework does when it listens, which is after the function was loaded.
    process.on(signal, exit);
  });

  afterEach(() => {
    for (const name of SIGNALS) process.removeAllListeners(name);
  });

  /** Lets everything that is ready happen. */
  const settle = () => new Promise((resolve) => setImmediate(resolve));

  test('waits for all work in progress, also for work that fails', async () => {
    const first = Promise.withResolvers<string>();
    const second = Promise.withResolvers<string>();
    const results = Promise.allSettled([
      shutdown.during(() => first.promise),
      shutdown.during(() => second.promise),
    ]);
    process.emit(signal, signal);
    await settle();
    expect(exit).not.toHaveBeenCalled();

    first.reject(new Error('failed'));
    await settle();
    expect(exit).not.toHaveBeenCalled();

    second.resolve('done');
    await settle();
    expect(exit.mock.calls).toEqual([[signal]]);
    expect(await results).toMatchObject([{ status: 'rejected' }, { value: 'done' }]);
  });

  test('ends the process at once when there is none', async () => {
    await shutdown.during(() => Promise.resolve());
    process.emit(signal, signal);
    await settle();
    expect(exit).toHaveBeenCalledTimes(1);
  });

  test('is not waited for twice', async () => {
    for (let request = 0; request < 3; request++) await shutdown.during(() => Promise.resolve());
    expect(process.listenerCount(signal)).toBe(1);
    process.emit(signal, signal);
    await settle();
    expect(exit).toHaveBeenCalledTimes(1);
  });
});
