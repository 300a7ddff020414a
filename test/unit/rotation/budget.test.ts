import {
  ADD_RESERVE,
  ANSWER_RESERVE,
  Budget,
  ISSUE_RESERVE,
  MINTED_KEY_PATIENCE,
  ORPHAN_AGE,
} from '../../../src/rotation/budget';
import { fakeClock, HOUR, inTurn, MINUTE, NOW, SECOND } from '../support';
import { QUOTA, STORE_REFUSES, UNAVAILABLE } from './scene';

const DEADLINE = NOW + 525 * SECOND;

function budget(deadline = DEADLINE) {
  const clock = fakeClock();
  return { clock, budget: new Budget(clock, deadline) };
}

test('the reserves hold what has to happen in them', () => {
  // A try to issue a key takes up to a minute, one to add a version ten seconds; and both may be tried again.
  expect(ISSUE_RESERVE - ADD_RESERVE).toBeGreaterThanOrEqual(60 * SECOND);
  expect(ADD_RESERVE).toBeGreaterThanOrEqual(20 * SECOND);
  expect(ANSWER_RESERVE).toBeGreaterThan(10 * SECOND);
  // A minted key is stored well before anybody takes it for an orphan.
  expect(ORPHAN_AGE).toBe(HOUR);
  expect(MINTED_KEY_PATIENCE).toBeLessThanOrEqual(45 * MINUTE);
});

test.each([
  [ISSUE_RESERVE, true],
  [ISSUE_RESERVE - 1, false],
])('with %d ms left, there is time to issue: %s', (left, hasTime) => {
  expect(budget(NOW + left).budget.hasTimeToIssue).toBe(hasTime);
});

test('a key is issued, and added, only so late that the next step has its time', () => {
  const { latestIssue, latestAdd } = budget().budget;
  expect(DEADLINE - latestIssue).toBe(ISSUE_RESERVE);
  expect(DEADLINE - latestAdd).toBe(ADD_RESERVE);
});

describe('patiently', () => {
  test('a call that fails for a passing reason is made again', async () => {
    const call = inTurn<string>(UNAVAILABLE, QUOTA, UNAVAILABLE, 'done');
    await expect(budget().budget.patiently(call)).resolves.toBe('done');
  });

  test('one that is refused is not', async () => {
    const { clock, budget: budget_ } = budget();
    const call = inTurn<string>(STORE_REFUSES, 'done');
    await expect(budget_.patiently(call)).rejects.toBe(STORE_REFUSES);
    expect(clock.now()).toBe(NOW);
  });

  test.each([
    ['an outage is waited for half a minute', UNAVAILABLE, DEADLINE, 30 * SECOND],
    ['but no longer than the run may last', UNAVAILABLE, NOW + 10 * SECOND, 10 * SECOND],
    ['a quota is waited for as long as the run may last', QUOTA, DEADLINE, 525 * SECOND],
  ])('%s', async (_name, error, deadline, patience) => {
    const { clock, budget: budget_ } = budget(deadline);
    await expect(budget_.patiently(inTurn<never>(error))).rejects.toBe(error);
    expect(clock.now() - NOW).toBeLessThanOrEqual(patience);
    expect(clock.now() - NOW).toBeGreaterThan(patience - 6 * SECOND);
  });
});

describe('for a time', () => {
  test.each([
    ['an outage', UNAVAILABLE, DEADLINE, 20 * SECOND],
    ['a quota, for the same', QUOTA, DEADLINE, 20 * SECOND],
    ['but no longer than the caller says', QUOTA, NOW + 10 * SECOND, 10 * SECOND],
  ])('%s', async (_name, error, latest, patience) => {
    const { clock, budget: budget_ } = budget();
    const tried = budget_.tryFor(20 * SECOND, inTurn<never>(error), latest);
    await expect(tried).rejects.toBe(error);
    expect(clock.now() - NOW).toBeLessThanOrEqual(patience);
    expect(clock.now() - NOW).toBeGreaterThan(patience - 6 * SECOND);
  });
});
