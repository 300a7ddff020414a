import { once } from 'node:events';
import { createServer, request } from 'node:http';
import { connect, createServer as createListener, type AddressInfo, type Socket } from 'node:net';
import { START, VirtualClock } from '../virtual-clock';
import { SECOND } from './support';

let clock: VirtualClock;
let startedAt: number;
beforeEach(() => {
  clock = new VirtualClock();
  startedAt = clock.monotonic();
});

const elapsed = (): number => clock.monotonic() - startedAt;

/** Sleeps, and notes name and time of waking. */
function sleeping(log: string[], name: string, ms: number, signal?: AbortSignal): Promise<void> {
  return clock.sleep(ms, signal).then(() => void log.push(`${name} at ${elapsed()}`));
}

describe('a sleep', () => {
  test('takes exactly its time when nothing else is to do', async () => {
    await clock.sleep(540 * SECOND);
    expect(elapsed()).toBe(540 * SECOND);
    expect(clock.now()).toBe(START + 540 * SECOND);
  });

  test('wakes in the order of time, and of falling asleep for the same time', async () => {
    const log: string[] = [];
    const sleeps = { long: 30, short: 10, middle: 20, 'short, too': 10 };
    await Promise.all(Object.entries(sleeps).map(([name, ms]) => sleeping(log, name, ms)));
    expect(log).toEqual(['short at 10', 'short, too at 10', 'middle at 20', 'long at 30']);
  });

  test('waits for work that takes several turns of the event loop', async () => {
    const work = async (): Promise<number> => {
      for (let turn = 0; turn < 10; turn += 1) await new Promise((go) => setImmediate(go));
      return elapsed();
    };
    const [done] = await Promise.all([work(), clock.sleep(SECOND)]);
    expect(done).toBe(0);
  });

  test('ends at once when its signal aborts', async () => {
    const log: string[] = [];
    const abort = new AbortController();
    const aborted = sleeping(log, 'aborted', 20, abort.signal);
    await Promise.all([aborted, sleeping(log, 'other', 10).then(() => abort.abort())]);
    expect(log).toEqual(['other at 10', 'aborted at 10']);
    expect(clock.sleepers).toBe(0);
    await clock.sleep(SECOND, abort.signal);
    expect(elapsed()).toBe(10);
  });

  test('never ends when it is endless, and delays no other', async () => {
    void clock.sleep(Infinity);
    await clock.sleep(10);
    await clock.idle();
    expect(elapsed()).toBe(10);
  });
});

describe('changes by a test', () => {
  test('wakes everybody who is due, in order, when the time is moved', async () => {
    const log: string[] = [];
    const release = clock.hold();
    const both = [sleeping(log, 'late', 20), sleeping(log, 'early', 10)];
    const later = sleeping(log, 'later', 31);
    clock.advance(30);
    await Promise.all(both);
    expect(log).toEqual(['early at 30', 'late at 30']);
    expect(clock.sleepers).toBe(1);
    release();
    await later;
    expect(log.at(-1)).toBe('later at 31');
  });

  test('sets the time of day back without touching sleeps and the monotonic time', async () => {
    const slept = clock.sleep(10);
    clock.setWallClock(START - 7_200 * SECOND);
    await slept;
    expect(elapsed()).toBe(10);
    expect(clock.now()).toBe(START - 7_200 * SECOND + 10);
  });

  test('lets no time pass while it is held', async () => {
    const release = clock.hold();
    const other = clock.hold();
    const slept = clock.sleep(10);
    release();
    release();
    await clock.idle();
    expect(elapsed()).toBe(0);
    other();
    await slept;
    expect(elapsed()).toBe(10);
  });

  test('moves to the next sleeper step by step while it is held', async () => {
    const log: string[] = [];
    clock.hold();
    void sleeping(log, 'b', 20);
    void sleeping(log, 'a', 10);
    await clock.step();
    await clock.idle();
    expect(log).toEqual(['a at 10']);
    await clock.step();
    await clock.step();
    expect(log).toEqual(['a at 10', 'b at 20']);
  });
});

describe('sockets', () => {
  const ends: (() => void)[] = [];
  afterEach(() => {
    for (const end of ends.splice(0)) end();
  });

  test('lets no time pass during 200 calls over HTTP, one after the other', async () => {
    const server = createServer((_, response) => response.end('x'.repeat(100_000)));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    ends.push(() => {
      server.closeAllConnections();
      server.close();
    });
    const call = async (): Promise<void> => {
      const { port } = server.address() as AddressInfo;
      const sent = request({ host: '127.0.0.1', port }).end();
      const [response] = (await once(sent, 'response')) as [NodeJS.ReadableStream];
      await once(response.resume(), 'end');
    };
    const calls = async (): Promise<number> => {
      for (let n = 0; n < 200; n += 1) await call();
      return elapsed();
    };
    const slept = clock.sleep(10);
    await expect(calls()).resolves.toBe(0);
    await slept;
    expect(elapsed()).toBe(10);
  });

  /** A connection whose two ends are in this process. */
  async function connection(
    options: { pauseOnConnect?: boolean } = {},
  ): Promise<{ client: Socket; server: Socket }> {
    const listener = createListener(options).listen(0, '127.0.0.1');
    await once(listener, 'listening');
    const client = connect((listener.address() as AddressInfo).port, '127.0.0.1');
    const [[server]] = await Promise.all([
      once(listener, 'connection') as Promise<[Socket]>,
      once(client, 'connect'),
    ]);
    ends.push(() => {
      client.destroy();
      server.destroy();
      listener.close();
    });
    return { client, server };
  }

  test('lets no time pass until data is read that arrives late', async () => {
    // Nobody reads: the data is under way for as long as the test wants.
    const { client, server } = await connection({ pauseOnConnect: true });
    client.write('call');
    const slept = clock.sleep(10);
    for (let turn = 0; turn < 1000; turn += 1) await new Promise((go) => setImmediate(go));
    expect(elapsed()).toBe(0);
    const [data] = await Promise.all([once(server.resume(), 'data'), slept]);
    expect(String(data)).toBe('call');
    expect(elapsed()).toBe(10);
  });

  test('waits until the other end knows that a connection was closed', async () => {
    const { client, server } = await connection();
    const closed = new Promise<number>((resolve) => {
      client.on('error', () => undefined).on('close', () => resolve(elapsed()));
    });
    server.resetAndDestroy();
    await clock.sleep(10);
    await expect(closed).resolves.toBe(0);
  });
});
