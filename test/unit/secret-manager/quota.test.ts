import { RotationError } from '../../../src/errors';
import { CallQueue, Priority, type QueuedCall } from '../../../src/secret-manager/quota';

/** A clock that a test moves. Sleeps end in the order of their times. */
class ManualClock {
  #now = 1_000_000;
  #sleepers: { at: number; wake: () => void }[] = [];

  readonly now = (): number => this.#now;
  readonly monotonic = (): number => this.#now;

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((wake) => {
      this.#sleepers.push({ at: this.#now + ms, wake });
      signal?.addEventListener('abort', () => wake());
    });
  }

  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      await settled();
      const [next] = this.#sleepers.toSorted((a, b) => a.at - b.at);
      if (next === undefined || next.at > end) break;
      this.#now = Math.max(this.#now, next.at);
      this.#sleepers = this.#sleepers.filter((sleeper) => sleeper !== next);
      next.wake();
    }
    this.#now = end;
    await settled();
  }
}

/** Everything that can happen without the clock has happened. */
async function settled(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

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
  kind: Pick<QueuedCall, 'quota' | 'priority'>,
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

it('has at most 32 calls in flight, and begins adds first, then reads in their order', async () => {
  const reads = names('read', 35);
  void Promise.all(reads.map((name) => call(name, READ)));
  void call('change', CHANGE);
  void call('add', ADD);
  await settled();
  expect(begun).toEqual(reads.slice(0, 32));
  for (const name of reads.slice(0, 5)) await end(name);
  expect(begun.slice(32)).toEqual(['add', 'read32', 'read33', 'read34', 'change']);
});

it('begins at most 8 writes per second in a project, without holding up reads', async () => {
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

it('fails a write at once when its turn would come after its deadline', async () => {
  const results = names('change', 10).map((name) => call(name, CHANGE, { deadlineMs: 500 }));
  await settled();
  expect(begun).toHaveLength(8);
  expect(await Promise.all(results.slice(8))).toEqual(['DEADLINE_EXCEEDED', 'DEADLINE_EXCEEDED']);
});

it('fails a call that waits for a free place until after its deadline', async () => {
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

it('fails a call whose deadline is over', async () => {
  expect(await call('late', READ, { deadlineMs: -1 })).toBe('DEADLINE_EXCEEDED');
  expect(begun).toEqual([]);
});

it('pauses for a quota that is used up, longer each time, and for no other quota or project', async () => {
  void call('read1', READ);
  await end('read1', usedUp());
  void call('read2', READ);
  void call('add', ADD);
  void call('other', READ, { project: 'q' });
  await settled();
  expect(begun).toEqual(['read1', 'other', 'add']);
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

it('counts calls that fail together once', async () => {
  void Promise.all(names('read', 5).map((name) => call(name, READ)));
  await settled();
  for (const name of names('read', 5)) await end(name, usedUp());
  void call('next', READ);
  await clock.advance(1000);
  expect(begun.at(-1)).toBe('next');
});

it('holds up calls that waited for a free place when their quota was used up', async () => {
  void Promise.all(names('read', 33).map((name) => call(name, READ)));
  await settled();
  await end('read0', usedUp());
  expect(begun).toHaveLength(32);
  await clock.advance(1000);
  expect(begun.at(-1)).toBe('read32');
});

it('fails a call at once with the error of the quota when the pause lasts until after its deadline', async () => {
  void call('read1', READ);
  await end('read1', usedUp());
  expect(await call('read2', READ, { deadlineMs: 999 })).toBe('SECRET_MANAGER_QUOTA_EXCEEDED');
});

it('never pauses longer than 20 s, and at least half of that', async () => {
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

it('begins at most 8 writes per second also when a pause is over', async () => {
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
