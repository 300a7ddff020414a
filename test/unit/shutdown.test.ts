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

  test('waits for all work in progress when some of it fails', async () => {
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

  test('ends the process at once when no work is in progress', async () => {
    await shutdown.during(() => Promise.resolve());
    process.emit(signal, signal);
    await settle();
    expect(exit).toHaveBeenCalledTimes(1);
  });

  test('waits for work that begins after the signal', async () => {
    const first = Promise.withResolvers<undefined>();
    const second = Promise.withResolvers<undefined>();
    void shutdown.during(() => first.promise);
    process.emit(signal, signal);
    void shutdown.during(() => second.promise);
    first.resolve(undefined);
    await settle();
    expect(exit).not.toHaveBeenCalled();
    second.resolve(undefined);
    await settle();
    expect(exit).toHaveBeenCalledTimes(1);
  });

  test('changes nothing when the signal comes again', async () => {
    const work = Promise.withResolvers<undefined>();
    void shutdown.during(() => work.promise);
    process.emit(signal, signal);
    process.emit(signal, signal);
    await settle();
    expect(process.listenerCount(signal)).toBe(1);
    expect(exit).not.toHaveBeenCalled();
    work.resolve(undefined);
    await settle();
    expect(exit).toHaveBeenCalledTimes(1);
  });

  test('has one listener, however many requests there are', async () => {
    await shutdown.during(() => Promise.resolve());
    const listeners = process.rawListeners(signal);
    await shutdown.during(() => Promise.resolve());
    expect(process.rawListeners(signal)).toEqual(listeners);
    expect(listeners).toHaveLength(1);
  });
});
