import type { OwnKey, Verdict, Version } from '../../../src/rotation/ports';
import {
  foresee,
  standing,
  standingAfter,
  sweep,
  type Standing,
} from '../../../src/rotation/sweep';
import { HOUR, inTurn, NOW, SECOND, version } from '../support';
import { effects, error, key, ownKey, scene, SECRET, STORE_REFUSES, type Plan } from './scene';

/** Version 4 is the newest, 3 enabled within its grace period, 2 was retired; each holds the key of its number. */
const VERSIONS = [version(1, 'DESTROYED'), version(2, 'DISABLED'), version(3), version(4)];
const ALL = ['k1', 'k2', 'k3', 'k4', 'orphan'].map((name) => ownKey(name));

function plan({ session, policy, ...changes }: Plan = {}, keys: readonly OwnKey[] = ALL): Plan {
  return {
    versions: VERSIONS,
    policy: { revoke: true, gracePeriodMs: 30 * 24 * HOUR, ...policy },
    session: { ownKeys: () => Promise.resolve(keys), ...session },
    renewal: { by: 'mint' },
    ...changes,
  };
}

async function sweptIn(
  { begin, found }: ReturnType<typeof scene>,
  changes: Partial<Standing> = {},
) {
  const run = begin();
  const left = standing(found);
  if (left !== undefined) await sweep(run, { ...left, ...changes });
  return run.trail;
}

async function sweepIn(planned: Plan, changes: Partial<Standing> = {}, waiting?: string) {
  const world = scene(planned);
  const { calls, pending, clock } = world;
  if (waiting !== undefined) {
    pending.keep(SECRET, { credential: key(waiting), by: 'refresh', issuedAt: NOW, newest: 4 });
  }
  const { outputs, failure, warnings } = await sweptIn(world, changes);
  return {
    calls,
    done: effects(calls).toSorted(),
    revoked: outputs.revoke,
    failure,
    warnings: [...warnings],
    took: clock.now() - NOW,
  };
}

describe('keys of ours end', () => {
  test('that no enabled version holds, orphans included', async () => {
    const { done, revoked, failure } = await sweepIn(plan());
    expect(done).toEqual(['revoke k1', 'revoke k2', 'revoke orphan']);
    expect(revoked).toEqual(['k1', 'k2', 'orphan']);
    expect(failure).toBeUndefined();
  });

  test('only where that is wanted', async () => {
    const session = { ownKeys: inTurn<never>(STORE_REFUSES) };
    const { calls, failure } = await sweepIn(plan({ policy: { revoke: false }, session }));
    expect([calls, failure]).toEqual([[], undefined]);
  });

  test('no others: those of people and of other secrets are not in the list of ours', async () => {
    expect((await sweepIn(plan({}, []))).calls).toEqual([]);
  });

  test('with the version that holds them, in the run that retires it', async () => {
    const { done } = await sweepIn(
      plan({ policy: { gracePeriodMs: 0 } }, [ownKey('k3'), ownKey('k4')]),
    );
    expect(done).toEqual(['disable 3', 'revoke k3']);
  });

  test('unless the version could not be retired', async () => {
    const planned = plan({ policy: { gracePeriodMs: 0 }, store: { disable: inTurn(false) } });
    expect((await sweepIn(planned)).done).not.toContain('revoke k3');
  });

  test('not in the hour in which another run may be about to store them', async () => {
    const { calls } = await sweepIn(plan({}, [ownKey('young', HOUR), ownKey('younger', 1)]));
    expect(calls).toEqual([]);
  });

  test('not while they wait to be stored', async () => {
    expect((await sweepIn(plan(), {}, 'orphan')).revoked).toEqual(['k1', 'k2']);
  });

  test('not in the newest version, which costs no look', async () => {
    const store = { exists: inTurn<never>(STORE_REFUSES) };
    expect(await sweepIn(plan({ store }, [ownKey('k4')]))).toMatchObject({
      calls: [],
      failure: undefined,
    });
  });
});

describe('a key lives as long as a version that holds it', () => {
  const putBack = (versions: Version[], holds: Plan['holds']) =>
    plan({ versions, holds: holds ?? {} });

  test('into which a person put it back', async () => {
    const { revoked } = await sweepIn(putBack(VERSIONS, { 3: key('k2') }));
    expect(revoked).toEqual(['k1', 'k3', 'orphan']);
  });

  test('that the list takes for disabled, and that opens', async () => {
    const access = (_: unknown, number: number | 'latest') =>
      Promise.resolve({ number: Number(number) || 4, payload: key(`k${number}`).serialize() });
    expect((await sweepIn(plan({ store: { access } }))).revoked).toEqual(['k1', 'orphan']);
  });

  test('that no list has shown, between those that are known', async () => {
    const planned = plan({ holds: { 3: key('k2') } });
    const listed = { versions: VERSIONS.filter(({ number }) => number !== 3) };
    expect((await sweepIn(planned, listed)).revoked).toEqual(['k1', 'k3', 'orphan']);
  });

  test('that is listed as enabled and does not open, which is not certain: then nothing ends', async () => {
    const access = (_: unknown, number: number | 'latest') =>
      Promise.resolve(number === 3 ? undefined : { number: 4, payload: key('k4').serialize() });
    const { done, failure } = await sweepIn(plan({ store: { access } }));
    expect(done).toEqual([]);
    expect(failure).toBeUndefined();
  });

  test('that somebody added since the secret was looked at: then nothing ends', async () => {
    const planned = putBack([...VERSIONS, version(5, 'ENABLED', NOW)], { 5: key('k2') });
    const listed = { versions: VERSIONS, newest: { version: version(4), credential: key('k4') } };
    const { done, failure } = await sweepIn(planned, listed);
    expect(done).toEqual([]);
    expect(failure).toBeUndefined();
  });
});

describe('in doubt no key ends', () => {
  const says = (verdict: Verdict) => ({ ownKeys: inTurn(ALL), verify: inTurn<Verdict>(verdict) });

  test.each<[string, Plan, string]>([
    ['the newest key is rejected', { session: says('rejected') }, 'NEWEST_KEY_REJECTED'],
    ['the newest key is not proved', { session: says('unclear') }, 'VERIFY_INCONCLUSIVE'],
    ['a version holds what nobody can read', { holds: { 3: '?' } }, 'KEYS_NOT_REVOKED'],
    [
      'a version cannot be looked at',
      { store: { access: inTurn<never>(STORE_REFUSES) } },
      'KEYS_NOT_REVOKED',
    ],
    [
      'a newer version cannot be looked for',
      { store: { exists: inTurn<never>(STORE_REFUSES) } },
      'KEYS_NOT_REVOKED',
    ],
    [
      'keys cannot be listed',
      { session: { ownKeys: inTurn<never>(error('MOMENTO_UNAVAILABLE')) } },
      'KEYS_NOT_REVOKED',
    ],
    [
      'nobody may list the keys',
      { session: { ownKeys: inTurn<never>(error('MANAGEMENT_KEY_REFUSED')) } },
      'MANAGEMENT_KEY_REFUSED',
    ],
  ])('%s', async (_name, changes, code) => {
    const { done, failure } = await sweepIn(plan(changes));
    expect(done).toEqual([]);
    expect(failure?.error.code).toBe(code);
  });

  test('and the run is incomplete, but retires versions as usual', async () => {
    const session = { ownKeys: inTurn<never>(error('MOMENTO_UNAVAILABLE')) };
    const { done, failure } = await sweepIn(plan({ policy: { gracePeriodMs: 0 }, session }));
    expect(done).toEqual(['disable 3']);
    expect(failure).toMatchObject({ outcome: 'incomplete', step: 'revoke' });
    expect(failure?.error.message).toContain('MOMENTO_UNAVAILABLE: test: MOMENTO_UNAVAILABLE.');
  });

  test('a secret whose keys are refreshed does not fail for the management key', async () => {
    const session = { ownKeys: inTurn<never>(error('MANAGEMENT_KEY_REFUSED')) };
    const changes = { session, policy: { gracePeriodMs: 0 }, renewal: { by: 'refresh' } } as const;
    const { done, failure, warnings } = await sweepIn(plan(changes));
    expect(done).toEqual(['disable 3']);
    expect(failure).toBeUndefined();
    expect(warnings).toEqual([expect.stringContaining('MANAGEMENT_KEY_REFUSED')]);
  });

  test('the version that stands in the way is named, with what to do about it', async () => {
    const { failure } = await sweepIn(plan({ holds: { 3: '?' } }));
    expect(failure?.error.message).toContain(
      'Which key version 3 of projects/p/secrets/s holds cannot be told',
    );
    expect(failure?.error.message).toContain('disable it');
  });

  test('a fault is told as one', async () => {
    const session = { ownKeys: inTurn<never>(new TypeError('planted')) };
    const { failure } = await sweepIn(plan({ session }));
    expect(failure).toMatchObject({ outcome: 'incomplete', error: { code: 'INTERNAL' } });
  });
});

test('a revocation that fails holds up no other, and makes the run incomplete', async () => {
  const revoke = (keyId: string) =>
    keyId === 'k2' ? Promise.reject(error('MANAGEMENT_KEY_REFUSED')) : Promise.resolve(true);
  const { revoked, failure } = await sweepIn(plan({ session: { revoke } }));
  expect(revoked).toEqual(['k1', 'orphan']);
  expect(failure).toMatchObject({
    outcome: 'incomplete',
    step: 'revoke',
    error: { code: 'MANAGEMENT_KEY_REFUSED' },
  });
});

describe('a key is looked for again before it ends where anything was waited for', () => {
  /** A person puts the key of the version 2 back while the issuer lets the run wait. */
  async function putBackWhile(waitMs: number, change: (world: ReturnType<typeof scene>) => void) {
    const planned = plan({
      session: {
        ownKeys: inTurn([ownKey('k2')]),
        revoke: async (_keyId, confirm) => {
          if (waitMs > 0) {
            change(world);
            await world.clock.sleep(waitMs);
          }
          return confirm?.() ?? true;
        },
      },
    });
    const world = scene(planned);
    const { outputs, failure } = await sweptIn(world);
    return { revoked: outputs.revoke, failure };
  }

  test('a key that stays where it is ends', async () => {
    expect(await putBackWhile(SECOND, () => undefined)).toMatchObject({ revoked: ['k2'] });
  });

  test('one that a new version holds lives on', async () => {
    const ended = await putBackWhile(SECOND, ({ versions, payloads }) => {
      versions.set(5, version(5));
      payloads.set(5, key('k2').serialize());
    });
    expect(ended).toEqual({ revoked: [], failure: undefined });
  });

  test('one whose version somebody enabled lives on', async () => {
    const ended = await putBackWhile(SECOND, ({ versions }) => {
      versions.set(2, version(2, 'ENABLED'));
    });
    expect(ended).toEqual({ revoked: [], failure: undefined });
  });

  test('and when that cannot be seen, none ends', async () => {
    const ended = await putBackWhile(SECOND, ({ versions, payloads }) => {
      versions.set(2, version(2, 'ENABLED'));
      payloads.set(2, Buffer.from('?'));
    });
    expect(ended).toMatchObject({ revoked: [], failure: { error: { code: 'KEYS_NOT_REVOKED' } } });
  });
});

test('a limit at the issuer holds up no version, and is waited for no longer than half a minute', async () => {
  let disabledAt = Infinity;
  const disable = () => {
    disabledAt = world.clock.now();
    return Promise.resolve(true);
  };
  const session = { ownKeys: inTurn<never>(error('MOMENTO_LIMIT_EXCEEDED')) };
  const world = scene(plan({ session, store: { disable }, policy: { gracePeriodMs: 0 } }));
  expect(await sweptIn(world)).toMatchObject({
    failure: { outcome: 'incomplete', error: { code: 'KEYS_NOT_REVOKED' } },
  });
  expect(disabledAt).toBeLessThan(NOW + 2 * SECOND);
  expect(world.clock.now()).toBeLessThanOrEqual(NOW + 30 * SECOND);
});

test('a revocation that fails for a passing reason is made again', async () => {
  const revoke = inTurn<boolean>(
    error('MOMENTO_UNAVAILABLE'),
    error('MOMENTO_LIMIT_EXCEEDED'),
    true,
  );
  const { revoked, failure } = await sweepIn(plan({ session: { revoke } }));
  expect([revoked, failure]).toEqual([['k1', 'k2', 'orphan'], undefined]);
});

describe('foreseen', () => {
  async function foreseeIn(planned: Plan, isDue: boolean) {
    const { begin, calls, found } = scene(planned);
    const run = begin({ dryRun: true });
    const foreseen = isDue ? standingAfter(found, NOW) : standing(found);
    if (foreseen !== undefined) await foresee(run, foreseen);
    const { retire = [], revoke } = run.trail.outputs;
    return {
      calls,
      retire: retire.map(({ number }) => number),
      revoke,
      failure: run.trail.failure,
      warnings: [...run.trail.warnings],
    };
  }

  test.each<[string, Partial<Plan>, boolean, number[], string[]]>([
    ['without a rotation', {}, false, [], ['k1', 'k2', 'orphan']],
    ['with one, within the grace period', {}, true, [], ['k1', 'k2', 'orphan']],
    [
      'after the grace period',
      { policy: { gracePeriodMs: 0 } },
      false,
      [3],
      ['k1', 'k2', 'k3', 'orphan'],
    ],
    [
      'with a rotation and no grace',
      { policy: { gracePeriodMs: 0 } },
      true,
      [3, 4],
      ['k1', 'k2', 'k3', 'k4', 'orphan'],
    ],
    ['where it is not wanted', { policy: { revoke: false } }, true, [], []],
  ])('%s', async (_name, changes, isDue, retire, revoke) => {
    const foreseen = await foreseeIn(plan(changes), isDue);
    expect(foreseen).toMatchObject({ retire, revoke, calls: [], failure: undefined });
  });

  test('and a management key that fails is no failure of a secret that is refreshed', async () => {
    const session = { ownKeys: inTurn<never>(error('MANAGEMENT_KEY_REFUSED')) };
    const { failure } = await foreseeIn(plan({ session, renewal: { by: 'refresh' } }), false);
    expect(failure).toBeUndefined();
  });

  test('and what would keep keys from being revoked is a warning: nothing was to be done', async () => {
    const { failure, warnings } = await foreseeIn(plan({ holds: { 3: '?' } }), false);
    expect(failure).toBeUndefined();
    expect(warnings).toEqual([expect.stringContaining('KEYS_NOT_REVOKED')]);
  });
});
