import type { RenewalPolicy } from '../../../src/rotation/decide';
import type { Verdict, Version } from '../../../src/rotation/ports';
import type { Found } from '../../../src/rotation/steps';
import { standing, standingAfter, sweep, type Standing } from '../../../src/rotation/sweep';
import { DAY, HOUR, inTurn, NOW, SECOND, version } from '../support';
import { effects, error, NEW_KEY, scene, STORE_REFUSES, UNAVAILABLE, type Plan } from './scene';

const VERSIONS = [version(1, 'DISABLED'), version(2), version(3, 'DISABLED'), version(4)];
const DESTROYS: Partial<RenewalPolicy> = { destroyAfterMs: 0 };

const says = (...verdicts: Verdict[]) => ({ verify: inTurn<Verdict>(...verdicts) });
const numbers = (versions: readonly Version[] = []) => versions.map(({ number }) => number);

/** Sweeps a scene in which version 4 is the newest; by default nothing is known of its key. */
async function sweepIn(plan: Plan = {}, changes: Partial<Standing> = {}) {
  const { begin, calls, clock, found, versions } = scene({
    versions: VERSIONS,
    policy: DESTROYS,
    ...plan,
  });
  const run = begin();
  const left = standing(found);
  if (left !== undefined) await sweep(run, { ...left, ...changes });
  const { outputs, failure, warnings } = run.trail;
  return {
    calls,
    done: effects(calls).toSorted(),
    retired: numbers(outputs.retire),
    destroyed: numbers(outputs.destroy),
    failure,
    warnings: [...warnings],
    took: clock.now() - NOW,
    newest: versions.get(4),
  };
}

describe('what is superseded', () => {
  test('is retired and destroyed, with the newest key proved once', async () => {
    const { calls, retired, destroyed, failure } = await sweepIn();
    expect([retired, destroyed, failure]).toEqual([[2], [1, 3], undefined]);
    expect(calls[0]).toBe('verify k4');
    expect(calls.filter((call) => call.startsWith('verify'))).toHaveLength(1);
  });

  test('needs no second proof in a run that has one', async () => {
    const { calls, retired } = await sweepIn({}, { verdict: 'accepted' });
    expect(retired).toEqual([2]);
    expect(calls).not.toContain('verify k4');
  });

  test('needs a proof also when there is only something to destroy', async () => {
    const { calls } = await sweepIn({ versions: [version(3, 'DISABLED'), version(4)] });
    expect(calls).toEqual(['verify k4', 'destroy 3']);
  });

  test.each<[string, Partial<RenewalPolicy>, string[]]>([
    [
      'waits for the end of its grace period',
      { gracePeriodMs: 7 * DAY, ...DESTROYS },
      ['destroy 1', 'destroy 3'],
    ],
    [
      'is destroyed only when it is old enough',
      { destroyAfterMs: 7 * DAY },
      ['destroy 1', 'disable 2'],
    ],
    ['is destroyed only where that is wanted', {}, ['disable 2']],
    ['is ended unproved with VERIFY=false', { verify: false }, ['disable 2']],
  ])('%s', async (_name, policy, done) => {
    expect((await sweepIn({ policy })).done).toEqual(done);
  });

  test('is left when nothing is due: then nobody is asked', async () => {
    expect(
      (await sweepIn({ versions: [version(3, 'DISABLED'), version(4)], policy: {} })).calls,
    ).toEqual([]);
  });

  test('is ended as it was listed, so that its etag can be compared', async () => {
    const seen: Version[] = [];
    const disable = (_: unknown, listed: Version) => Promise.resolve(seen.push(listed) > 0);
    await sweepIn({ store: { disable } });
    expect(seen).toEqual([version(2)]);
  });
});

describe('without proof of the newest key nothing ends', () => {
  test('a key that is rejected fails the run at once', async () => {
    const { done, failure, took } = await sweepIn({ session: says('rejected') });
    expect(done).toEqual([]);
    expect(failure).toMatchObject({
      outcome: 'failed',
      step: 'verify',
      error: { code: 'NEWEST_KEY_REJECTED' },
    });
    expect(failure?.error.message).toContain('version 4');
    expect(took).toBe(0);
  });

  test('a key that was added moments ago may not have spread: it is asked about again', async () => {
    const versions = [version(3), version(4, 'ENABLED', NOW - SECOND)];
    const { retired } = await sweepIn({ versions, session: says('rejected', 'accepted') });
    expect(retired).toEqual([3]);
  });

  test.each<[string, Plan, Partial<Standing>]>([
    ['when asked', { session: says('unclear') }, {}],
    ['when it was added', {}, { verdict: 'unclear' }],
  ])(
    'a key without a clear answer %s leaves the rest to the next run',
    async (_name, plan, changes) => {
      const { done, failure } = await sweepIn(plan, changes);
      expect(done).toEqual([]);
      expect(failure).toMatchObject({
        outcome: 'incomplete',
        step: 'verify',
        error: { code: 'VERIFY_INCONCLUSIVE' },
      });
    },
  );
});

describe('what cannot be ended', () => {
  const fails =
    (code: Parameters<typeof error>[0], number: number) => (_: unknown, listed: Version) =>
      listed.number === number ? Promise.reject(error(code)) : Promise.resolve(true);

  test.each<[string, Plan['store'] & object, number[], number[], object]>([
    [
      'a version to retire',
      { disable: fails('SECRET_MANAGER_REFUSED', 2) },
      [],
      [1, 3],
      { step: 'retire', error: { code: 'SECRET_MANAGER_REFUSED' } },
    ],
    [
      'a version to destroy',
      { destroy: fails('PERMISSION_MISSING', 1) },
      [2],
      [3],
      { step: 'destroy', error: { code: 'PERMISSION_MISSING' } },
    ],
    [
      'one of each',
      {
        disable: fails('SECRET_MANAGER_UNAVAILABLE', 2),
        destroy: fails('SECRET_MANAGER_REFUSED', 3),
      },
      [],
      [1],
      { step: 'retire', error: { code: 'SECRET_MANAGER_UNAVAILABLE' } },
    ],
  ])(
    '%s holds up no other, and makes the run incomplete',
    async (_name, store, retired, destroyed, failure) => {
      const swept = await sweepIn({ store });
      expect(swept).toMatchObject({ retired, destroyed });
      expect(swept.failure).toMatchObject({ outcome: 'incomplete', ...failure });
    },
  );

  test('is tried again when it fails for a passing reason', async () => {
    const { retired, failure } = await sweepIn({
      store: { disable: inTurn<boolean>(UNAVAILABLE, UNAVAILABLE, true) },
    });
    expect([retired, failure]).toEqual([[2], undefined]);
  });

  test('because it changed meanwhile, is left to the next run', async () => {
    const { retired, failure, warnings } = await sweepIn({ store: { disable: inTurn(false) } });
    expect([retired, failure]).toEqual([[], undefined]);
    expect(warnings).toEqual([
      expect.stringMatching(/^version 2 changed during the run .*next run looks again$/),
    ]);
  });

  test.each<[Standing['missing'], string[]]>([
    [['disable'], ['destroy 1', 'destroy 3']],
    [['destroy'], ['disable 2']],
    [['add'], ['destroy 1', 'destroy 3', 'disable 2']],
    [['disable', 'destroy'], []],
  ])('for want of %j is not tried, and the rest is done', async (missing, done) => {
    const swept = await sweepIn({}, { missing });
    expect(swept.done).toEqual(done);
    expect(swept.failure).toBeUndefined();
  });
});

describe('how things stand', () => {
  const { found } = scene();
  const added = { version: version(5, 'ENABLED', NOW), credential: NEW_KEY };

  test('as the secret was found', () => {
    expect(standing(found)).toMatchObject({ newest: { version: { number: 4 } }, missing: [] });
  });

  test('after a rotation, with the version that was added', () => {
    const left = standing(found, added, 'accepted');
    expect(left).toMatchObject({ newest: added, verdict: 'accepted' });
    expect(numbers(left?.versions)).toEqual([3, 4, 5]);
  });

  test.each<[string, ReturnType<typeof standing>]>([
    [
      'nothing may end while the newest version cannot be read',
      standing({ ...found, newest: version(5, 'DISABLED') }),
    ],
    [
      'nor while it holds no key',
      standing({ versions: found.versions, newest: version(4), missing: [], next: STORE_REFUSES }),
    ],
    [
      'nor in a secret that was made anew',
      standing(found, { ...added, version: version(1) }, 'accepted'),
    ],
  ])('%s', (_name, left) => {
    expect(left).toBeUndefined();
  });

  test.each<[number, Found]>([
    [5, found],
    [8, { ...found, newest: version(7, 'DISABLED') }],
    [1, { versions: [], missing: [], next: found.next }],
  ])('a rotation is foreseen as version %d, added now', (number, before) => {
    const { versions } = standingAfter(before, NOW + HOUR);
    expect(versions.at(-1)).toMatchObject({ number, state: 'ENABLED', createdAt: NOW + HOUR });
  });
});
