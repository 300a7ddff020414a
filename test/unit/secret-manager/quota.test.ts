import { RotationError } from '../../../src/errors';
import { CallQueue, Priority } from '../../../src/secret-manager/quota';
import { ManualClock, settled } from '../manual-clock';

let clock: ManualClock;
let queue: CallQueue;
/** The names of calls, in the order in which they began. */
let begun: string[];
let ends: Map<string, (error?: RotationError) => void>;

beforeEach(() => {
  clock = new ManualClock();
  queue = new CallQueue(clock, () => 1);
  begun = [];
  ends = new Map();
});

const READ = { quota: 'read', priority: Priority.READ } as const;
const ADD = { quota: 'write', priority: Priority.ADD } as const;
const CHANGE = { quota: 'write', priority: Priority.CHANGE } as const;

/** Makes a call that takes until the test ends it; resolves to `done`, or the code of its error. */
async function call(
  name: string,
  kind: typeof READ | typeof ADD | typeof CHANGE,
  options: { project?: string; deadlineMs?: number } = {},
): Promise<string> {
  const { project = 'p', deadlineMs = 3_600_000 } = options;
  const deadline = clock.monotonic() + deadlineMs;
  try {
    await queue.run({ ...kind, project, deadline }, () => {
      begun.push(name);
      return new Promise<void>((resolve, reject) => {
        ends.set(name, (error) => (error === undefined ? resolve() : reject(error)));
      });
    });
    return 'done';
  } catch (error) {
    return (error as RotationError).code;
  }
}

async function end(name: string, error?: RotationError): Promise<void> {
  await settled();
  const finish = ends.get(name);
  if (finish === undefined) throw new Error(`${name} has not begun`);
  finish(error);
  await settled();
}

const usedUp = (): RotationError =>
  new RotationError('SECRET_MANAGER_QUOTA_EXCEEDED', { problem: 'p', action: 'a' });

const names = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, n) => `${prefix}${n}`);

it('begins adds first, then reads in their order, when 32 calls are in flight', async () => {
  const reads = names('read', 35);
  void Promise.all(reads.map((name) => call(name, READ)));
  void call('change', CHANGE);
  void call('add', ADD);
  await settled();
  expect(begun).toEqual(reads.slice(0, 32));
  for (const name of reads.slice(0, 5)) await end(name);
  expect(begun.slice(32)).toEqual(['add', 'read32', 'read33', 'read34', 'change']);
});

it('begins at most 8 writes per second and project, and reads at once, when many calls arrive', async () => {
  const changes = names('change', 20);
  void Promise.all(changes.map((name) => call(name, CHANGE)));
  void call('other', CHANGE, { project: 'q' });
  void call('read', READ);
  await settled();
  expect(begun.toSorted()).toEqual([...changes.slice(0, 8), 'other', 'read'].toSorted());
  void call('add', ADD);
  await clock.advance(999);
  expect(begun).toHaveLength(10);
  await clock.advance(1);
  expect(begun.slice(10)).toEqual(['add', ...changes.slice(8, 15)]);
  await clock.advance(1000);
  expect(begun.slice(18)).toEqual(changes.slice(15));
});

it('fails a write at once when the rate allows it only after its deadline', async () => {
  const results = names('change', 10).map((name) => call(name, CHANGE, { deadlineMs: 500 }));
  await settled();
  expect(begun).toHaveLength(8);
  expect(await Promise.all(results.slice(8))).toEqual(['DEADLINE_EXCEEDED', 'DEADLINE_EXCEEDED']);
});

it('fails a queued call when its deadline is over before a slot is free', async () => {
  void Promise.all(names('read', 32).map((name) => call(name, READ)));
  await settled();
  const late = call('late', READ, { deadlineMs: 100 });
  await clock.advance(101);
  await end('read0');
  expect(await late).toBe('DEADLINE_EXCEEDED');
  void call('next', READ);
  await settled();
  expect(begun.at(-1)).toBe('next');
});

it('fails a call when its deadline is over', async () => {
  expect(await call('late', READ, { deadlineMs: -1 })).toBe('DEADLINE_EXCEEDED');
  expect(begun).toEqual([]);
});

it('pauses, longer each time, only the quota and project whose quota is used up', async () => {
  void call('read1', READ);
  await end('read1', usedUp());
  void call('read2', READ);
  void call('add', ADD);
  void call('other', READ, { project: 'q' });
  await settled();
  expect(begun).toEqual(['read1', 'add', 'other']);
  await clock.advance(999);
  expect(begun).toHaveLength(3);
  await clock.advance(1);
  expect(begun.at(-1)).toBe('read2');
  await end('read2', usedUp());
  void call('read3', READ);
  await clock.advance(1999);
  expect(begun.at(-1)).toBe('read2');
  await clock.advance(1);
  expect(begun.at(-1)).toBe('read3');
  // A success ends it.
  await end('read3');
  void call('read4', READ);
  await settled();
  await end('read4', usedUp());
  void call('read5', READ);
  await clock.advance(1000);
  expect(begun.at(-1)).toBe('read5');
});

it('pauses once when several calls fail together', async () => {
  void Promise.all(names('read', 5).map((name) => call(name, READ)));
  await settled();
  for (const name of names('read', 5)) await end(name, usedUp());
  void call('next', READ);
  await clock.advance(1000);
  expect(begun.at(-1)).toBe('next');
});

it('pauses calls that are queued for a slot when their quota is used up', async () => {
  void Promise.all(names('read', 33).map((name) => call(name, READ)));
  await settled();
  await end('read0', usedUp());
  expect(begun).toHaveLength(32);
  await clock.advance(1000);
  expect(begun.at(-1)).toBe('read32');
});

it('fails a call at once with the error of the quota when the pause ends after its deadline', async () => {
  void call('read1', READ);
  await end('read1', usedUp());
  expect(await call('read2', READ, { deadlineMs: 999 })).toBe('SECRET_MANAGER_QUOTA_EXCEEDED');
});

it('pauses between 10 s and 20 s when the quota stays used up', async () => {
  const half = new CallQueue(clock, () => 0);
  queue = half;
  for (let n = 0; n < 8; n += 1) {
    void call(`read${n}`, READ);
    await clock.advance(20_000);
    await end(`read${n}`, usedUp());
  }
  void call('next', READ);
  await clock.advance(9_999);
  expect(begun.at(-1)).toBe('read7');
  await clock.advance(1);
  expect(begun.at(-1)).toBe('next');
});

it('begins at most 8 writes per second when a pause ends', async () => {
  for (const name of names('first', 4)) {
    void call(name, CHANGE);
    await clock.advance(10_000);
    await end(name, usedUp());
  }
  begun = [];
  const changes = names('change', 40);
  void Promise.all(changes.map((name) => call(name, CHANGE)));
  // The fourth pause is 8 s long.
  await clock.advance(7_999);
  expect(begun).toEqual([]);
  await clock.advance(1);
  expect(begun).toEqual(changes.slice(0, 8));
  await clock.advance(1_000);
  expect(begun).toEqual(changes.slice(0, 16));
});

it('begins at most 8 writes per second when writes have waited for a slot', async () => {
  const reads = names('read', 32);
  void Promise.all(reads.map((name) => call(name, READ)));
  const changes = names('change', 24);
  void Promise.all(changes.map((name) => call(name, CHANGE)));
  await clock.advance(10_000);
  for (const name of reads) await end(name);
  expect(begun.slice(32)).toEqual(changes.slice(0, 8));
  await clock.advance(999);
  expect(begun).toHaveLength(40);
  await clock.advance(1);
  expect(begun.slice(32)).toEqual(changes.slice(0, 16));
});

it('begins reads at once when writes wait for the rate', async () => {
  void Promise.all(names('change', 80).map((name) => call(name, CHANGE)));
  await settled();
  void Promise.all(names('read', 24).map((name) => call(name, READ)));
  await settled();
  expect(begun.slice(8)).toEqual(names('read', 24));
});
