import type { Credential, CurrentKey, KeyCheck } from '../../../src/rotation/ports';
import { verifyOrInconclusive, verifyIssued, verifyNewest } from '../../../src/rotation/verify';
import { HOUR, inTurn, NOW, SECOND, version } from '../support';
import {
  ACCEPTED,
  error,
  INCONCLUSIVE,
  key,
  NEW_KEY,
  REJECTED,
  testBed,
  type Plan,
} from './test-bed';

const CURRENT: CurrentKey = { version: version(4), credential: key('k4') };
const OTHER_HOST: KeyCheck = { verdict: 'rejected', host: 'other.example.com', byIssuer: false };

/** Answers about the new key, and about the current one. */
const answers = (
  ofNew: () => Promise<KeyCheck>,
  ofCurrent: KeyCheck = ACCEPTED,
): Plan['session'] => ({
  verifyNew: ({ fingerprint }: Credential) =>
    fingerprint === 'new' ? ofNew() : Promise.resolve(ofCurrent),
});

/** Verifies a key that was issued `age` ago. */
async function verifyIn(plan: Plan, { age = 0, isFirst = false } = {}) {
  const { begin, clock, calls } = testBed(plan);
  const start = clock.monotonic();
  const issued = {
    credential: NEW_KEY,
    by: 'refresh',
    issuedAt: start - age,
    newestAtIssue: 4,
  } as const;
  const check = await verifyIssued(begin(), issued, isFirst ? undefined : CURRENT);
  return { check, calls, took: clock.monotonic() - start };
}

describe('verifyIssued', () => {
  test('verifies once when the key is accepted', async () => {
    expect(await verifyIn({})).toEqual({ check: ACCEPTED, calls: ['verifyNew new'], took: 0 });
  });

  test('makes no call when VERIFY is off', async () => {
    const { check, calls } = await verifyIn({ policy: { verify: false } });
    expect([check, calls]).toEqual([undefined, []]);
  });

  test.each<[string, KeyCheck[]]>([
    ['a new key is rejected at first', [REJECTED, REJECTED, REJECTED, REJECTED, ACCEPTED]],
    ['an answer is inconclusive at first', [INCONCLUSIVE, INCONCLUSIVE, ACCEPTED]],
    ['answers differ', [INCONCLUSIVE, REJECTED, INCONCLUSIVE, ACCEPTED]],
  ])('verifies again when %s', async (_name, checks) => {
    expect((await verifyIn({ session: answers(inTurn(...checks)) })).check).toEqual(ACCEPTED);
  });

  test.each<[string, KeyCheck, number, number, number]>([
    ['a rejection ten seconds after the issue', REJECTED, 0, 7, 10],
    ['a later rejection at once', REJECTED, 10 * SECOND, 0, 0],
    ['an inconclusive answer after fifteen seconds', INCONCLUSIVE, HOUR, 12, 15],
  ])('takes %s for final', async (_name, answer, age, least, most) => {
    const { check, took } = await verifyIn({ session: answers(inTurn(answer)) }, { age });
    expect(check).toEqual(answer);
    expect(took).toBeGreaterThanOrEqual(least * SECOND);
    expect(took).toBeLessThanOrEqual(most * SECOND);
  });

  test('is inconclusive when the same host rejects the current key, too', async () => {
    const { check, calls } = await verifyIn(
      { session: answers(inTurn(REJECTED), REJECTED) },
      { age: HOUR },
    );
    expect(check).toEqual({
      verdict: 'inconclusive',
      problem: 'cache.example.com rejects the new key and the current key alike',
    });
    expect(calls).toEqual(['verifyNew new', 'verifyNew k4']);
  });

  test.each<[string, KeyCheck, boolean]>([
    ['the current key is accepted', ACCEPTED, false],
    ['another host rejects the current key', OTHER_HOST, false],
    ['the answer about the current key is inconclusive', INCONCLUSIVE, false],
    ['there is no current key', REJECTED, true],
  ])('is a rejection when %s', async (_name, ofCurrent, isFirst) => {
    const { check } = await verifyIn(
      { session: answers(inTurn(REJECTED), ofCurrent) },
      { age: HOUR, isFirst },
    );
    expect(check).toEqual(REJECTED);
  });

  test('is inconclusive when the verification itself fails', async () => {
    const session = { verifyNew: inTurn<never>(error('MOMENTO_UNAVAILABLE')) };
    expect((await verifyIn({ session })).check).toEqual({
      verdict: 'inconclusive',
      problem: 'the verification failed with MOMENTO_UNAVAILABLE',
    });
  });
});

describe('verifyNewest', () => {
  async function verify(plan: Plan, createdAt = NOW - HOUR) {
    const { begin, clock, calls } = testBed(plan);
    const start = clock.monotonic();
    const current = { ...CURRENT, version: version(4, 'ENABLED', createdAt) };
    const check = await verifyNewest(begin(), current);
    return { check, calls, took: clock.monotonic() - start };
  }

  test('verifies the newest key', async () => {
    expect(await verify({})).toEqual({ check: ACCEPTED, calls: ['verifyNewest k4'], took: 0 });
  });

  test('makes no call when VERIFY is off', async () => {
    const nothing = { check: undefined, calls: [], took: 0 };
    expect(await verify({ policy: { verify: false } })).toEqual(nothing);
  });

  test.each<[string, number, KeyCheck]>([
    ['at once when the version is old', NOW - 10 * SECOND, REJECTED],
    ['after another attempt when the version was just added', NOW - SECOND, ACCEPTED],
  ])('takes a rejection for final %s', async (_name, createdAt, expected) => {
    const session = { verifyNewest: inTurn(REJECTED, ACCEPTED) };
    const { check } = await verify({ session }, createdAt);
    expect(check).toEqual(expected);
  });
});

test('verifyOrInconclusive keeps an answer', async () => {
  expect(await verifyOrInconclusive(inTurn(REJECTED))).toBe(REJECTED);
});
