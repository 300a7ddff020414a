import fc from 'fast-check';
import { toRotationError } from '../../src/errors';
import { ManualClock, settled } from './manual-clock';
import { RateLimiter, type RateLimiterOptions, type RateLimitedCall } from '../../src/rate-limiter';

let clock: ManualClock;
let limiter: RateLimiter;
/** What happened, and when after the start. */
let log: string[];

function start(options: RateLimiterOptions = { calls: 2, windowMs: 1000 }): void {
  clock = new ManualClock();
  limiter = new RateLimiter(clock, options);
  log = [];
}

beforeEach(() => start());

/** Asks for a turn; `deadline` counts from the start. */
function ask(
  name: string,
  { deadline = Infinity, priority = 0, slots }: Partial<RateLimitedCall> = {},
): void {
  limiter.acquire({ deadline: 1000 + deadline, priority, slots }).then(
    () => log.push(`${name} ${clock.monotonic() - 1000}`),
    (error: unknown) =>
      log.push(`${name} ${toRotationError(error).code} ${clock.monotonic() - 1000}`),
  );
}

test('lets no window see more calls than allowed, in the order of arrival', async () => {
  for (const name of ['a', 'b', 'c', 'd', 'e']) ask(name);
  await settled();
  expect(log).toEqual(['a 0', 'b 0']);
  await clock.advance(999);
  expect(log).toHaveLength(2);
  await clock.advance(1001);
  expect(log).toEqual(['a 0', 'b 0', 'c 1000', 'd 1000', 'e 2000']);
});

test('serves higher priorities first, and arrivals of one priority in order', async () => {
  ask('a');
  ask('b');
  ask('low 1', { priority: 2 });
  ask('middle 1', { priority: 1 });
  ask('low 2', { priority: 2 });
  ask('middle 2', { priority: 1 });
  ask('high', { priority: 0 });
  await clock.advance(5000);
  const middle = ['middle 1 1000', 'middle 2 2000'];
  expect(log.slice(2)).toEqual(['high 1000', ...middle, 'low 1 2000', 'low 2 3000']);
});

test('fails a turn at once when it would come after its deadline, and gives its slot to the next', async () => {
  ask('a');
  ask('b');
  ask('late', { deadline: 999 });
  ask('just in time', { deadline: 1000 });
  ask('d', { deadline: 1000 });
  ask('late as well', { deadline: 1999 });
  await settled();
  const failed = ['late DEADLINE_EXCEEDED 0', 'late as well DEADLINE_EXCEEDED 0'];
  expect(log).toEqual(['a 0', 'b 0', ...failed]);
  await clock.advance(5000);
  expect(log.slice(4)).toEqual(['just in time 1000', 'd 1000']);
});

test('fails a turn at once when its deadline is over, although a slot is free', async () => {
  ask('over', { deadline: -1 });
  ask('now', { deadline: 0 });
  await settled();
  expect(log.toSorted()).toEqual(['now 0', 'over DEADLINE_EXCEEDED 0']);
});

test('fails a turn when later arrivals of a higher priority push it past its deadline', async () => {
  ask('a');
  ask('b');
  ask('low', { priority: 1, deadline: 1500 });
  ask('low 2', { priority: 1, deadline: 2500 });
  await clock.advance(500);
  ask('high 1');
  await settled();
  expect(log).toEqual(['a 0', 'b 0']);
  ask('high 2');
  await settled();
  expect(log).toEqual(['a 0', 'b 0', 'low DEADLINE_EXCEEDED 500']);
  await clock.advance(5000);
  expect(log.slice(3)).toEqual(['high 1 1000', 'high 2 1000', 'low 2 2000']);
});

test('begins a batch when all of its slots are free', async () => {
  start({ calls: 5, windowMs: 1000 });
  ask('one');
  await clock.advance(400);
  ask('batch', { slots: 5 });
  ask('after the batch');
  await clock.advance(5000);
  expect(log).toEqual(['one 0', 'batch 1000', 'after the batch 2000']);
});

test('lets a smaller turn of a higher priority begin while a batch waits for its slots', async () => {
  start({ calls: 5, windowMs: 1000 });
  ask('four', { slots: 4 });
  ask('batch', { slots: 5, priority: 1 });
  await clock.advance(400);
  ask('one');
  await settled();
  expect(log).toEqual(['four 0', 'one 400']);
  await clock.advance(5000);
  expect(log).toEqual(['four 0', 'one 400', 'batch 1400']);
});

test('rejects a batch that never has all of its slots', () => {
  expect(() => limiter.acquire({ deadline: 0, priority: 0, slots: 3 })).toThrow(RangeError);
});

test.each([-7_200_000, 7_200_000])(
  'keeps to the rate when the wall clock is set by %d ms',
  async (change) => {
    ask('a');
    ask('b');
    ask('c');
    await clock.advance(100);
    clock.wallOffset = change;
    ask('d', { deadline: 1000 });
    ask('e', { deadline: 1000 });
    await clock.advance(5000);
    expect(log).toEqual(['a 0', 'b 0', 'e DEADLINE_EXCEEDED 100', 'c 1000', 'd 1000']);
  },
);

test('begins no call after its deadline when the timer is late, and uses no slot for it', async () => {
  ask('a');
  ask('b');
  ask('late', { deadline: 1500 });
  ask('c', { deadline: 2500 });
  ask('d', { deadline: 2500 });
  // The process was busy: the timer of 1000 fires at 2000.
  const { monotonic } = clock;
  clock.monotonic = () => (monotonic() >= 2000 ? monotonic() + 1000 : monotonic());
  await clock.advance(1000);
  expect(log).toEqual(['a 0', 'b 0', 'late DEADLINE_EXCEEDED 2000', 'c 2000', 'd 2000']);
});

test('names the service, the rate and a remedy in the error', async () => {
  start({ calls: 2, windowMs: 1100, service: "Momento's key API" });
  await expect(limiter.acquire({ deadline: 999, priority: 0 })).rejects.toMatchObject({
    code: 'DEADLINE_EXCEEDED',
    problem: expect.stringMatching(
      /Momento's key API couldn't begin.* at most 2 calls in 1.1 s/,
    ) as string,
    action: expect.stringContaining('TIMEOUT') as string,
  });
});

const TURN = fc.record({
  wait: fc.integer({ min: 0, max: 700 }),
  priority: fc.integer({ min: 0, max: 3 }),
  slots: fc.integer({ min: 1, max: 3 }),
  retryFor: fc.integer({ min: -100, max: 6000 }),
});

test('keeps to rate and deadlines, and settles every call, for any calls', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(TURN, { maxLength: 40 }), async (turns) => {
      start({ calls: 3, windowMs: 1000 });
      const begins: number[] = [];
      let answered = 0;
      let late = 0;
      for (const { wait, retryFor, ...turn } of turns) {
        await clock.advance(wait);
        const deadline = clock.monotonic() + retryFor;
        limiter.acquire({ ...turn, deadline }).then(
          () => {
            answered += 1;
            late += Number(clock.monotonic() > deadline);
            begins.push(...Array<number>(turn.slots).fill(clock.monotonic()));
          },
          () => (answered += 1),
        );
      }
      await clock.advance(10_000);
      expect({ answered, late }).toEqual({ answered: turns.length, late: 0 });
      begins.forEach((begin, index) => {
        expect((begins[index + 3] ?? Infinity) - begin).toBeGreaterThanOrEqual(1000);
      });
    }),
    { numRuns: 60 },
  );
});

test('counts the calls of a turn from when they begin', async () => {
  const at = await limiter.acquire({ deadline: Infinity, priority: 0, slots: 2 });
  await clock.advance(900);
  limiter.beginNow(at, 2);
  ask('next');
  await clock.advance(5000);
  expect(log).toEqual(['next 1900']);
});
