import { toRotationError } from '../../src/errors';
import { Semaphore } from '../../src/semaphore';
import { ManualClock, settled } from './manual-clock';

let clock: ManualClock;
let semaphore: Semaphore;
let log: string[];
let ends: Map<string, () => void>;

beforeEach(() => {
  clock = new ManualClock();
  semaphore = new Semaphore(clock, 2, 'Momento');
  log = [];
  ends = new Map();
});

/** A call that ends when the test says so. */
function call(name: string, ms = 10_000): void {
  semaphore
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
  call('patient');
  await clock.advance(1_000);
  expect(log).toEqual(['a begins', 'b begins', 'late DEADLINE_EXCEEDED']);
  await end('a');
  expect(log.slice(3)).toEqual(['a ends', 'patient begins']);
  await clock.advance(20_000);
  expect(log).toHaveLength(5);
});

test('fails a call whose deadline is over', async () => {
  call('a', -1);
  await settled();
  expect(log).toEqual(['a DEADLINE_EXCEEDED']);
});

test('begins the next call when one fails', async () => {
  semaphore = new Semaphore(clock, 1, 'Momento');
  const failing = semaphore.run(clock.monotonic(), () => Promise.reject(new TypeError('a fault')));
  call('next');
  await expect(failing).rejects.toThrow('a fault');
  await settled();
  expect(log).toEqual(['next begins']);
});
