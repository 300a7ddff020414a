import { defined } from '../../../src/defined';
import type { Issued } from '../../../src/rotation/steps';
import type { Credential, Verdict, Version } from '../../../src/rotation/ports';
import { prove, verifyIssued } from '../../../src/rotation/verify';
import { HOUR, inTurn, NOW, SECOND, version } from '../support';
import {
  effects,
  error,
  EXPIRES_AT,
  key,
  NEW_KEY,
  QUOTA,
  scene,
  SECRET,
  STORE_REFUSES,
  UNAVAILABLE,
  type Plan,
} from './scene';

const REFRESHED: Issued = {
  credential: NEW_KEY,
  by: 'refresh',
  issuedAt: NOW,
  newest: 4,
  issuedFrom: 4,
};
const MINTED: Issued = { ...REFRESHED, by: 'mint' };

const says = (...verdicts: Verdict[]) => ({ verify: inTurn<Verdict>(...verdicts) });
const REJECTS = says('rejected');
const THEIRS = { list: inTurn([version(4), version(5)]) };

async function verifyIn(plan: Plan, issued = REFRESHED) {
  const { begin, found, calls, clock, pending } = scene(plan);
  pending.keep(SECRET, issued);
  const run = begin();
  const outcome = await verifyIssued(run, issued, found).catch((thrown: unknown) => thrown);
  return {
    outcome,
    effects: effects(calls),
    took: clock.now() - NOW,
    kept: pending.of(SECRET),
    warnings: [...run.trail.warnings],
    discarded: run.trail.discarded,
  };
}

describe('proving a key', () => {
  const proveIn = async (plan: Plan, issuedAt = NOW) => {
    const { begin, clock } = scene(plan);
    return { verdict: await prove(begin(), NEW_KEY, issuedAt), took: clock.now() - NOW };
  };

  test('asks once when the answer is clear', async () => {
    expect(await proveIn({})).toEqual({ verdict: 'accepted', took: 0 });
  });

  test.each<[string, Verdict[]]>([
    ['a new key may not have spread', ['rejected', 'rejected', 'rejected', 'rejected', 'accepted']],
    ['no answer may be followed by one', ['unclear', 'unclear', 'accepted']],
    ['in any order', ['unclear', 'rejected', 'unclear', 'accepted']],
  ])('asks again: %s', async (_name, verdicts) => {
    expect(await proveIn({ session: says(...verdicts) })).toMatchObject({ verdict: 'accepted' });
  });

  test.each<[string, Verdict, number, number, number]>([
    ['a rejection, ten seconds after the key was issued', 'rejected', NOW, 7, 10],
    ['a rejection that comes later, at once', 'rejected', NOW - 10 * SECOND, 0, 0],
    ['no answer, after five seconds', 'unclear', NOW - HOUR, 3, 5],
  ])('believes %s', async (_name, verdict, issuedAt, least, most) => {
    const proved = await proveIn({ session: says(verdict) }, issuedAt);
    expect(proved.verdict).toBe(verdict);
    expect(proved.took).toBeGreaterThanOrEqual(least * SECOND);
    expect(proved.took).toBeLessThanOrEqual(most * SECOND);
  });

  test('a failure of the check says nothing about the key', async () => {
    const session = { verify: inTurn<never>(new Error('planted')) };
    expect((await proveIn({ session })).verdict).toBe('unclear');
  });

  test('asks nobody with VERIFY=false', async () => {
    const { begin, calls } = scene({ policy: { verify: false } });
    expect(await prove(begin(), NEW_KEY, NOW)).toBe('unclear');
    expect(calls).toEqual([]);
  });
});

test('a key that is accepted may be added', async () => {
  expect(await verifyIn({})).toMatchObject({
    outcome: 'accepted',
    effects: [],
    warnings: [],
    kept: REFRESHED,
  });
});

test('a key without a clear answer may be added, with a warning', async () => {
  expect(await verifyIn({ session: says('unclear') })).toMatchObject({
    outcome: 'unclear',
    warnings: ['The vendor gave no clear answer about the new key; it was added unproved'],
    kept: REFRESHED,
  });
});

test('with VERIFY=false there is no answer to warn of', async () => {
  const { outcome, warnings } = await verifyIn({ policy: { verify: false } });
  expect([outcome, warnings]).toEqual(['unclear', []]);
});

describe('a key that is rejected', () => {
  test('is not added, and one that was refreshed waits for the next run', async () => {
    const { outcome, kept, effects: done } = await verifyIn({ session: REJECTS });
    expect(outcome).toMatchObject({ code: 'NEW_KEY_REJECTED' });
    expect((outcome as Error).message).toContain(new Date(EXPIRES_AT).toISOString());
    expect((outcome as Error).message).toContain('its next run asks about it again');
    expect(kept).toBe(REFRESHED);
    expect(done).toEqual([]);
  });

  test('and was minted is revoked at once', async () => {
    const {
      outcome,
      kept,
      effects: done,
      discarded,
    } = await verifyIn({ session: REJECTS }, MINTED);
    expect(outcome).toMatchObject({ code: 'NEW_KEY_REJECTED' });
    expect((outcome as Error).message).toContain('The next run makes another');
    expect(done).toEqual(['revoke new']);
    expect([kept, discarded]).toEqual([undefined, ['new']]);
  });

  test('leaves readers with what they have: a key without an expiry, or nothing', async () => {
    const { begin, found } = scene({ session: REJECTS });
    const { current, ...nothing } = found;
    const forever = { version: version(4), credential: key('k4', Infinity) };
    expect(current).toBeDefined();
    await expect(verifyIssued(begin(), MINTED, { ...found, current: forever })).rejects.toThrow(
      'Readers keep the newest version. ',
    );
    await expect(verifyIssued(begin(), MINTED, nothing)).rejects.toThrow('Readers get nothing.');
  });
});

describe('a version that somebody else added', () => {
  test.each<[string, Plan]>([
    ['stands', { store: THEIRS }],
    ['stands also when ours is rejected', { store: THEIRS, session: REJECTS }],
    ['stands whatever its state', { store: { list: inTurn([version(5, 'DISABLED')]) } }],
  ])('%s, and ours is dropped', async (_name, plan) => {
    const { outcome, kept, effects: done } = await verifyIn(plan);
    expect(outcome).toMatchObject({ supersededBy: { number: 5 } });
    expect(kept).toBeUndefined();
    expect(done).toEqual([]);
  });

  test('ends the key that we minted', async () => {
    const { outcome, effects: done, discarded } = await verifyIn({ store: THEIRS }, MINTED);
    expect(outcome).toMatchObject({ supersededBy: { number: 5 } });
    expect([done, discarded]).toEqual([['revoke new'], ['new']]);
  });

  test('stands also when our key could not be revoked', async () => {
    const session = { revoke: inTurn<never>(error('MOMENTO_UNAVAILABLE')) };
    const { outcome, warnings, discarded, took } = await verifyIn(
      { store: THEIRS, session },
      MINTED,
    );
    expect(outcome).toMatchObject({ supersededBy: { number: 5 } });
    expect(warnings).toEqual([expect.stringContaining('the new key new, which no version holds')]);
    expect(discarded).toEqual([]);
    expect(took).toBeLessThanOrEqual(30 * SECOND);
  });

  test('has no id to be revoked by: then nothing is', async () => {
    const credential = defined<Credential>({ ...NEW_KEY, keyId: undefined });
    const { effects: done } = await verifyIn({ store: THEIRS }, { ...MINTED, credential });
    expect(done).toEqual([]);
  });
});

describe('when in doubt whether somebody else added a version, nobody did', () => {
  test.each<[string, Version[] | Error, number]>([
    ['a list that is not to be had', UNAVAILABLE, 1],
    ['a list that there is no quota for', QUOTA, 1],
    ['a list that is refused', STORE_REFUSES, 1],
    ['an empty list', [], 0],
    ['a list that lags', [version(3)], 0],
  ])('%s', async (_name, list, warnings) => {
    const plan = { store: { list: inTurn<Version[]>(list) } };
    const verified = await verifyIn(plan);
    expect(verified).toMatchObject({ outcome: 'accepted', kept: REFRESHED });
    expect(verified.warnings).toHaveLength(warnings);
    expect(verified.took).toBeLessThanOrEqual(30 * SECOND);
  });
});
