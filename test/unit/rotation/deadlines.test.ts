import {
  TIME_TO_ADD,
  TIME_TO_ANSWER,
  Deadlines,
  TIME_TO_ISSUE_AND_ADD,
  MINTED_KEY_ADD_WITHIN,
  ORPHAN_AGE,
} from '../../../src/rotation/deadlines';
import { HOUR, inTurn, MINUTE, SECOND, testClock } from '../support';
import { error, QUOTA, STORE_REFUSES, UNAVAILABLE } from './test-bed';

/** Deadlines of a run that begins now. */
function deadlinesIn(ms = 525 * SECOND) {
  const clock = testClock();
  const start = clock.monotonic();
  return {
    clock,
    deadlines: new Deadlines(clock, start + ms),
    elapsed: () => clock.monotonic() - start,
  };
}

test('reserves enough time for each later step', () => {
  // An attempt to issue a key takes up to a minute, one to add a version ten seconds. Both can be repeated.
  expect(TIME_TO_ISSUE_AND_ADD - TIME_TO_ADD).toBeGreaterThanOrEqual(60 * SECOND);
  expect(TIME_TO_ADD).toBeGreaterThanOrEqual(20 * SECOND);
  expect(TIME_TO_ANSWER).toBeGreaterThan(10 * SECOND);
});

test('stops adding a minted key well before other runs take it for orphaned', () => {
  expect(ORPHAN_AGE).toBe(HOUR);
  expect(MINTED_KEY_ADD_WITHIN).toBe(45 * MINUTE);
});

test.each([
  [TIME_TO_ISSUE_AND_ADD, true],
  [TIME_TO_ISSUE_AND_ADD - 1, false],
])('with %d ms left allows an issue: %s', (left, expected) => {
  expect(deadlinesIn(left).deadlines.canIssue).toBe(expected);
});

test('derives the latest issue and the latest add from the end of the run', () => {
  const { end, latestIssue, latestAdd } = deadlinesIn().deadlines;
  expect(end - latestIssue).toBe(TIME_TO_ISSUE_AND_ADD);
  expect(end - latestAdd).toBe(TIME_TO_ADD);
});

test('cuts a wait at the end of the run, or at an earlier limit', () => {
  const { clock, deadlines } = deadlinesIn(10 * SECOND);
  const start = clock.monotonic();
  expect(deadlines.in(4 * SECOND)).toBe(start + 4 * SECOND);
  expect(deadlines.in(MINUTE)).toBe(start + 10 * SECOND);
  expect(deadlines.in(MINUTE, start + SECOND)).toBe(start + SECOND);
});

describe('retry', () => {
  test('repeats a call until it succeeds when it fails with transient errors', async () => {
    const call = inTurn<string>(UNAVAILABLE, QUOTA, UNAVAILABLE, 'done');
    await expect(deadlinesIn().deadlines.retry(call)).resolves.toBe('done');
  });

  test.each([STORE_REFUSES, error('DEADLINE_EXCEEDED')])(
    'gives up at once when the call fails with $code',
    async (final) => {
      const { deadlines, elapsed } = deadlinesIn();
      await expect(deadlines.retry(inTurn<string>(final, 'done'))).rejects.toBe(final);
      expect(elapsed()).toBe(0);
    },
  );

  test.each<[string, Error, number, { latest?: number; quotaRetryFor?: number }, number]>([
    ['an outage for 30 s', UNAVAILABLE, 525, {}, 30],
    ['an outage until the run ends', UNAVAILABLE, 10, {}, 10],
    ['a used-up quota until the run ends', QUOTA, 525, {}, 525],
    ['a used-up quota as long as the caller says', QUOTA, 525, { quotaRetryFor: 20 * SECOND }, 20],
    ['a used-up quota until the latest time', QUOTA, 525, { latest: 40 * SECOND }, 40],
  ])('retries %s', async (_name, failure, end, { latest, quotaRetryFor }, expected) => {
    const { clock, deadlines, elapsed } = deadlinesIn(end * SECOND);
    const until = latest === undefined ? undefined : clock.monotonic() + latest;
    const retried = deadlines.retry(inTurn<never>(failure), { latest: until, quotaRetryFor });
    await expect(retried).rejects.toBe(failure);
    expect(elapsed()).toBeLessThanOrEqual(expected * SECOND);
    expect(elapsed()).toBeGreaterThan((expected - 6) * SECOND);
  });

  test('measures the 30 s from the first failure, not from the start of a slow call', async () => {
    const { clock, deadlines } = deadlinesIn();
    const answers = inTurn<string>(UNAVAILABLE, 'done');
    const slow = () => clock.sleep(40 * SECOND).then(answers);
    await expect(deadlines.retry(slow)).resolves.toBe('done');
  });

  test.each([
    ['the end of the run', undefined],
    ['the latest time', 7 * SECOND],
  ])('passes %s to the call as its deadline', async (_name, latest) => {
    const { clock, deadlines } = deadlinesIn();
    const until = latest === undefined ? undefined : clock.monotonic() + latest;
    const deadline = await deadlines.retry((limits) => Promise.resolve(limits.deadline), {
      latest: until,
    });
    expect(deadline).toBe(until ?? deadlines.end);
  });

  test('keeps its limits when the wall clock is set back', async () => {
    const { clock, deadlines, elapsed } = deadlinesIn();
    const fails = () => {
      clock.setWallClock(clock.now() - HOUR);
      return Promise.reject(UNAVAILABLE);
    };
    await expect(deadlines.retry(fails)).rejects.toBe(UNAVAILABLE);
    expect(elapsed()).toBeLessThanOrEqual(30 * SECOND);
  });
});
