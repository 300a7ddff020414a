import { ConcurrencyLimiter, mapConcurrently } from '../../src/concurrency';
import { toRotationError } from '../../src/errors';
import { ManualClock, settled } from './manual-clock';

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

test.each([
  [0, 0],
  [3, 3],
  [9, 4],
])('of %d calls makes %d at the same time, and keeps the order of results', async (count, most) => {
  const items = Array.from({ length: count }, (_, i) => i);
  let active = 0;
  let seen = 0;
  const doubled = await mapConcurrently(4, items, async (item) => {
    seen = Math.max(seen, ++active);
    // The first takes longest.
    for (let turns = count - item; turns > 0; turns--) await turn();
    active--;
    return item * 2;
  });
  expect(doubled).toEqual(items.map((item) => item * 2));
  expect(seen).toBe(most);
});

test('fails when a call fails, and begins no further call', async () => {
  const begun: number[] = [];
  const call = async (item: number) => {
    begun.push(item);
    await turn();
    if (item === 2) throw new Error('no');
  };
  await expect(mapConcurrently(2, [1, 2, 3, 4, 5, 6], call)).rejects.toThrow('no');
  for (let turns = 0; turns < 10; turns++) await turn();
  // The other worker had begun 3 when 2 failed.
  expect(begun).toEqual([1, 2, 3]);
});

let clock: ManualClock;
let limiter: ConcurrencyLimiter;
let log: string[];
let ends: Map<string, () => void>;

beforeEach(() => {
  clock = new ManualClock();
  limiter = new ConcurrencyLimiter(clock, 2, 'Momento');
  log = [];
  ends = new Map();
});

/** A call that ends when the test says so. */
function call(name: string, ms = 10_000): void {
  limiter
    .run(clock.monotonic() + ms, () => {
      log.push(`${name} begins`);
      return new Promise<void>((resolve) => ends.set(name, resolve));
    })
    .then(
      () => log.push(`${name} ends`),
      (error: unknown) => log.push(`${name} ${toRotationError(error).code}`),
    );
}

function end(name: string): Promise<void> {
  ends.get(name)?.();
  return settled();
}

test('begins a call when fewer than the limit are in progress, in the order of arrival', async () => {
  for (const name of ['a', 'b', 'c', 'd']) call(name);
  await settled();
  expect(log).toEqual(['a begins', 'b begins']);
  await end('b');
  expect(log.slice(2)).toEqual(['b ends', 'c begins']);
  await end('a');
  await end('c');
  await end('d');
  call('e');
  expect(log.slice(4)).toEqual(['a ends', 'd begins', 'c ends', 'd ends', 'e begins']);
});

test('fails a call that waits until its deadline, and begins the next in its place', async () => {
  call('a');
  call('b');
  call('late', 1_000);
  call('next');
  await clock.advance(1_000);
  expect(log).toEqual(['a begins', 'b begins', 'late DEADLINE_EXCEEDED']);
  await end('a');
  expect(log.slice(3)).toEqual(['a ends', 'next begins']);
  await clock.advance(20_000);
  expect(log).toHaveLength(5);
});

test('fails a call whose deadline is over', async () => {
  call('a', -1);
  await settled();
  expect(log).toEqual(['a DEADLINE_EXCEEDED']);
});

test('begins the next call when one fails', async () => {
  limiter = new ConcurrencyLimiter(clock, 1, 'Momento');
  const failing = limiter.run(clock.monotonic(), () => Promise.reject(new TypeError('a fault')));
  call('next');
  await expect(failing).rejects.toThrow('a fault');
  await settled();
  expect(log).toEqual(['next begins']);
});
