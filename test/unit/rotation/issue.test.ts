import type { ErrorCode } from '../../../src/errors';
import { issue } from '../../../src/rotation/issue';
import type { Issued } from '../../../src/rotation/steps';
import type { Credential, Verdict, Version } from '../../../src/rotation/ports';
import { HOUR, inTurn, MINUTE, NOW, SECOND, version } from '../support';
import {
  error,
  key,
  LOST,
  NEW_KEY,
  REFUSED,
  scene,
  SECRET,
  STORE_REFUSES,
  UNAVAILABLE,
  type Plan,
} from './scene';

const LIMIT = error('MOMENTO_LIMIT_EXCEEDED');

/** Gets a key in a scene; and what was tried, and how long it took. */
async function issueIn(plan: Plan, deadline = NOW + 525 * SECOND) {
  const { begin, found, calls, clock, pending } = scene(plan);
  const outcome = await issue(begin({ deadline }), found).catch((thrown: unknown) => thrown);
  return {
    outcome,
    tries: calls.filter((call) => call === 'issue').length,
    took: clock.now() - NOW,
    pending,
  };
}

describe('a key that was issued', () => {
  test('says what it was issued from, and by what', async () => {
    const { outcome } = await issueIn({});
    expect(outcome).toEqual({
      credential: NEW_KEY,
      by: 'refresh',
      issuedAt: NOW,
      issuedFrom: 4,
      newest: 4,
    });
  });

  test('the first of a secret was issued from nothing', async () => {
    const { outcome } = await issueIn({ versions: [], renewal: { by: 'mint' } });
    expect(outcome).toEqual({ credential: NEW_KEY, by: 'mint', issuedAt: NOW, newest: 0 });
  });

  test.each([
    ['refresh', true],
    ['mint', false],
  ] as const)('by %s is kept until it is stored: %s', async (by, isKept) => {
    const { outcome, pending } = await issueIn({ renewal: { by } });
    expect(pending.of(SECRET)).toBe(isKept ? outcome : undefined);
  });
});

describe('a failure that passes', () => {
  test('is tried again', async () => {
    const attempt = inTurn<Credential>(error('MOMENTO_UNAVAILABLE'), LIMIT, NEW_KEY);
    const { outcome, tries } = await issueIn({ renewal: { issue: attempt } });
    expect(outcome).toMatchObject({ credential: NEW_KEY });
    expect(tries).toBe(3);
  });

  test.each<[ErrorCode, number]>([
    ['MOMENTO_UNAVAILABLE', 90 * SECOND],
    ['ISSUED_CREDENTIAL_INVALID', 90 * SECOND],
    // A limit passes. But others have to get their turn as well.
    ['MOMENTO_LIMIT_EXCEEDED', 120 * SECOND],
  ])('%s is given up in time', async (code, patience) => {
    const { outcome, took } = await issueIn({ renewal: { issue: inTurn<never>(error(code)) } });
    expect(outcome).toMatchObject({ code });
    expect(took).toBeGreaterThan(patience - 6 * SECOND);
    expect(took).toBeLessThanOrEqual(patience);
  });

  test('leaves 90 seconds for a last try and for storing its answer', async () => {
    const plan = { renewal: { issue: inTurn<never>(error('MOMENTO_UNAVAILABLE')) } };
    const { took } = await issueIn(plan, NOW + 120 * SECOND);
    expect(took).toBeLessThanOrEqual(30 * SECOND);
  });

  test('is tried again no sooner than its answer asks for', async () => {
    const busy = error('MOMENTO_LIMIT_EXCEEDED', { retryAfterMs: 2 * MINUTE });
    const { outcome, took } = await issueIn({
      renewal: { issue: inTurn<Credential>(busy, NEW_KEY) },
    });
    expect(outcome).toMatchObject({ credential: NEW_KEY });
    expect(took).toBeGreaterThanOrEqual(2 * MINUTE);
  });

  test('is not waited for when it asks for more time than there is', async () => {
    const busy = error('MOMENTO_LIMIT_EXCEEDED', { retryAfterMs: HOUR });
    const { outcome, took } = await issueIn({ renewal: { issue: inTurn<never>(busy) } });
    expect(outcome).toBe(busy);
    expect(took).toBe(0);
  });
});

describe('an answer that was lost', () => {
  test.each([0, 1, 3])('is tried again only %d times', async (lostAnswers) => {
    const plan = { renewal: { lostAnswers, issue: inTurn<never>(LOST) } };
    const { outcome, tries } = await issueIn(plan);
    expect(outcome).toBe(LOST);
    expect(tries).toBe(lostAnswers + 1);
  });

  test('does not count the tries that had no effect', async () => {
    const passing = error('MOMENTO_UNAVAILABLE');
    const attempt = inTurn<Credential>(passing, LOST, passing, passing, NEW_KEY);
    const { outcome } = await issueIn({ renewal: { issue: attempt } });
    expect(outcome).toMatchObject({ credential: NEW_KEY });
  });

  test.each<[string, Error, ErrorCode]>([
    ['is told', LOST, 'REFRESH_ANSWER_LOST'],
    ['is not told when none was', LIMIT, 'REFRESH_REFUSED'],
  ])('and then refused %s', async (_name, first, code) => {
    const { outcome } = await issueIn({ renewal: { issue: inTurn<never>(first, REFUSED) } });
    expect(outcome).toMatchObject({ code });
  });
});

describe('a refusal', () => {
  const refuses = { issue: inTurn<never>(REFUSED) };

  test('is final, and worded by whoever knows what to do', async () => {
    const { outcome, tries, took } = await issueIn({ renewal: refuses });
    expect(outcome).toMatchObject({ code: 'REFRESH_REFUSED' });
    expect((outcome as Error).message).toContain(`Told at ${NOW + took}.`);
    expect(tries).toBe(1);
  });

  test('of a refresh waits some seconds for a version of somebody who was first, and no longer', async () => {
    const { took } = await issueIn({ renewal: refuses });
    expect(took).toBeGreaterThanOrEqual(4 * SECOND);
    expect(took).toBeLessThanOrEqual(7 * SECOND);
  });

  test.each([
    ['at once', 0],
    ['some seconds later', 4],
  ])('is no failure when such a version shows %s', async (_name, after) => {
    const lists = [...Array<Version[]>(after).fill([version(4)]), [version(4), version(5)]];
    const { outcome } = await issueIn({ renewal: refuses, store: { list: inTurn(...lists) } });
    expect(outcome).toMatchObject({ supersededBy: { number: 5 } });
  });

  test('of a mint waits for nobody: another run has no part in it', async () => {
    const store = { list: inTurn([version(4), version(5)]) };
    const { outcome, took } = await issueIn({ store, renewal: { by: 'mint', ...refuses } });
    expect(outcome).toMatchObject({ code: 'REFRESH_REFUSED' });
    expect(took).toBe(0);
  });

  test.each([UNAVAILABLE, STORE_REFUSES])(
    'stays one when versions cannot be seen: %s',
    async (failure) => {
      const { begin, found } = scene({ renewal: refuses, store: { list: inTurn<never>(failure) } });
      const run = begin();
      await expect(issue(run, found)).rejects.toMatchObject({ code: 'REFRESH_REFUSED' });
      expect([...run.trail.warnings]).toEqual([
        `could not see whether a version was added meanwhile (${failure.code})`,
      ]);
    },
  );
});

test('a fault is no refusal, and is not tried again', async () => {
  const fault = new TypeError('planted');
  const { outcome, tries } = await issueIn({ renewal: { issue: inTurn<never>(fault) } });
  expect(outcome).toMatchObject({ code: 'INTERNAL', cause: fault });
  expect(tries).toBe(1);
});

test.each([
  [90 * SECOND, { credential: NEW_KEY }, 1],
  [90 * SECOND - 1, { code: 'DEADLINE_EXCEEDED' }, 0],
])('with %d ms to the deadline: %j', async (left, expected, tries) => {
  const tried = await issueIn({}, NOW + left);
  expect(tried.outcome).toMatchObject(expected);
  expect(tried.tries).toBe(tries);
});

describe('a key that waits to be stored', () => {
  const WAITING: Issued = {
    credential: key('waiting'),
    by: 'refresh',
    issuedAt: NOW - HOUR,
    issuedFrom: 4,
    newest: 4,
  };

  async function issueAgain(plan: Plan) {
    const { begin, found, calls, pending } = scene(plan);
    pending.keep(SECRET, WAITING);
    const outcome = await issue(begin(), found).catch((thrown: unknown) => thrown);
    return { outcome, tries: calls.filter((call) => call === 'issue').length, pending };
  }

  test.each<Verdict>(['accepted', 'unclear'])('is taken when it is %s', async (verdict) => {
    const { outcome, tries } = await issueAgain({ session: { verify: inTurn<Verdict>(verdict) } });
    expect(outcome).toBe(WAITING);
    expect(tries).toBe(0);
  });

  test('is taken unasked with VERIFY=false', async () => {
    const session = { verify: inTurn<Verdict>('rejected') };
    const { outcome } = await issueAgain({ policy: { verify: false }, session });
    expect(outcome).toBe(WAITING);
  });

  const rejected = { verify: inTurn<Verdict>('rejected') };

  test('is replaced when it is rejected', async () => {
    const { outcome, pending } = await issueAgain({ session: rejected });
    expect(outcome).toMatchObject({ credential: NEW_KEY });
    expect(pending.of(SECRET)).toBe(outcome);
  });

  test('is taken although it is rejected when no other is issued: it may be accepted yet', async () => {
    const renewal = { issue: inTurn<never>(REFUSED) };
    const { outcome } = await issueAgain({ session: rejected, renewal });
    expect(outcome).toBe(WAITING);
  });

  test('goes on waiting when it is rejected and nobody says whether there is another', async () => {
    const renewal = { issue: inTurn<never>(error('MOMENTO_UNAVAILABLE')) };
    const { outcome, pending } = await issueAgain({ session: rejected, renewal });
    expect(outcome).toMatchObject({ code: 'MOMENTO_UNAVAILABLE' });
    expect(pending.of(SECRET)).toBe(WAITING);
  });

  test('is taken also when no other could be issued, and else that is told', async () => {
    const renewal = error('KEY_NOT_REFRESHABLE');
    expect((await issueAgain({ renewal })).outcome).toBe(WAITING);
    expect((await issueAgain({ renewal, session: rejected })).outcome).toBe(renewal);
  });
});
