import type {
  IssuedKey,
  KeyCheck,
  Secret,
  SecretStore,
  Version,
} from '../../../src/rotation/ports';
import { UnsavedCredentials, type IssuedCredential } from '../../../src/rotation/unsaved';
import { DAY, HOUR, inTurn, NOW, SECOND, version } from '../support';
import {
  ACCEPTED,
  effects,
  error,
  INCONCLUSIVE,
  key,
  NEW_KEY,
  NOT_DUE,
  REFUSED,
  REJECTED,
  SECRET,
  STORE_REFUSES,
  testBed,
  type Plan,
} from './test-bed';

describe('UnsavedCredentials', () => {
  const OTHER: Secret = { ...SECRET, name: 'projects/p/secrets/other' };
  const issued = (by: IssuedCredential['by']): IssuedCredential => ({
    credential: NEW_KEY,
    by,
    issuedAt: 0,
    newestAtIssue: 4,
  });

  test('keeps a refreshed credential until it is discarded, for its secret only', () => {
    const unsaved = new UnsavedCredentials();
    const refreshed = issued('refresh');
    unsaved.set(SECRET, refreshed);
    expect(unsaved.get(OTHER)).toBeUndefined();
    unsaved.discard(OTHER);
    expect(unsaved.get(SECRET)).toBe(refreshed);
    unsaved.discard(SECRET);
    expect(unsaved.get(SECRET)).toBeUndefined();
  });

  test('keeps no minted credential', () => {
    const unsaved = new UnsavedCredentials();
    unsaved.set(SECRET, issued('mint'));
    expect(unsaved.get(SECRET)).toBeUndefined();
  });
});

const ISSUED: IssuedKey = { credential: NEW_KEY, warnings: [] };

/** A test bed in which a forced run used the token of version 4, and couldn't store the new key. */
async function bedWithUnsaved(plan: Plan = {}) {
  const bed = testBed({ policy: NOT_DUE, addFails: [STORE_REFUSES], ...plan });
  const { result } = await bed.run({ force: true });
  expect(result.error?.code).toBe('CREDENTIAL_NOT_STORED');
  expect(bed.unsaved.get(SECRET)?.credential).toBe(NEW_KEY);
  const change = (
    number: number,
    content: ReturnType<typeof key>,
    changes: Partial<Version> = {},
  ) => {
    bed.versions.set(number, { ...version(number, 'ENABLED', NOW), ...changes });
    bed.payloads.set(number, content.serialize());
  };
  return { ...bed, change };
}

test('the next run stores an unsaved credential first, and issues no other', async () => {
  const { run, latest, unsaved } = await bedWithUnsaved();
  const { result, calls } = await run();
  expect(result).toMatchObject({
    outcome: 'rotated',
    reason: "an earlier run issued a key that isn't stored yet",
    version: '5',
    previousVersion: '4',
    verified: true,
  });
  expect(effects(calls)).toEqual(['add new', 'disable 4']);
  expect(await latest()).toBe('new');
  expect(unsaved.get(SECRET)).toBeUndefined();
  expect((await run()).result.outcome).toBe('not_due');
});

describe('an unsaved credential is kept and stored when', () => {
  test.each<[string, (bed: Awaited<ReturnType<typeof bedWithUnsaved>>) => void]>([
    [
      'the version that it was issued from was disabled',
      ({ change }) => {
        change(4, key('k4'), { state: 'DISABLED', createdAt: version(4).createdAt });
      },
    ],
    [
      'the newer version contains the used token: the old payload was stored again',
      ({ change }) => {
        change(5, key('k4'));
      },
    ],
    [
      'the newer version is disabled',
      ({ change }) => {
        change(5, key('theirs'), { state: 'DISABLED' });
      },
    ],
    [
      'the newest version is unreadable',
      ({ change, unreadable }) => {
        change(5, key('theirs'));
        unreadable.add(5);
      },
    ],
    [
      'the newest version is no credential',
      ({ change, payloads }) => {
        change(5, key('theirs'));
        payloads.set(5, Buffer.from('?'));
      },
    ],
  ])('%s', async (_name, prepare) => {
    const bed = await bedWithUnsaved();
    prepare(bed);
    const { result, calls } = await bed.run();
    expect(result).toMatchObject({ outcome: 'rotated', keyId: 'new' });
    expect(calls).toContain('add new');
    expect(calls).not.toContain('issue');
    expect(await bed.latest()).toBe('new');
  });

  test.each([REJECTED, INCONCLUSIVE])(
    'the answer about the key of a newer version is $verdict',
    async (check) => {
      const bed = await bedWithUnsaved({
        check: (keyId) => (keyId === 'theirs' ? check : ACCEPTED),
      });
      bed.change(5, key('theirs'));
      const { result } = await bed.run();
      expect(result).toMatchObject({ outcome: 'rotated', version: '6', keyId: 'new' });
    },
  );

  test.each<[string, Partial<SecretStore>]>([
    ['reads lag behind and show an older version', { list: inTurn({ versions: [version(3)] }) }],
    ['reads lag behind and show no version', { list: inTurn({ versions: [] }) }],
  ])('%s', async (_name, store) => {
    const bed = await bedWithUnsaved();
    const { environment, begin } = bed;
    Object.assign(environment.store, store, {
      access: (_: unknown, number: number | 'latest') =>
        Promise.resolve(
          number === 3 || number === 'latest'
            ? { kind: 'payload', number: 3, payload: key('k3').serialize() }
            : { kind: 'absent' },
        ),
    });
    await bed.run();
    expect(bed.calls.filter((call) => call === 'add new')).toHaveLength(2);
    expect(bed.calls.filter((call) => call === 'issue')).toHaveLength(1);
    expect(begin().unsaved.get(SECRET)).toBeUndefined();
  });

  test("the function isn't allowed to get versions", async () => {
    const bed = await bedWithUnsaved({
      store: { get: inTurn<never>(error('PERMISSION_MISSING')) },
    });
    expect((await bed.run()).result).toMatchObject({ outcome: 'rotated', keyId: 'new' });
  });
});

test("an unsaved credential is stored although the version that it was issued from can't be looked up", async () => {
  const get = inTurn<never>(error('SECRET_MANAGER_QUOTA_EXCEEDED'));
  const { run, latest, clock } = await bedWithUnsaved({ store: { get } });
  const start = clock.monotonic();
  expect((await run()).result.outcome).toBe('rotated');
  expect(clock.monotonic() - start).toBeLessThanOrEqual(30 * SECOND);
  expect(await latest()).toBe('new');
});

describe('an unsaved credential is dropped when', () => {
  test('a newer version has a key that is accepted', async () => {
    const { run, change, unsaved } = await bedWithUnsaved();
    change(5, key('theirs'));
    const { result, calls } = await run();
    expect(result).toMatchObject({ outcome: 'not_due', version: '5', keyId: 'theirs' });
    expect(result.warnings).toEqual([
      "a key that an earlier run couldn't store isn't needed any more: version 5 was added since",
    ]);
    expect(effects(calls)).toEqual(['disable 4']);
    expect(unsaved.get(SECRET)).toBeUndefined();
  });

  test('a newer version contains it', async () => {
    const { run, change, unsaved } = await bedWithUnsaved();
    change(5, NEW_KEY);
    const { result } = await run();
    expect(result.warnings).toEqual([expect.stringContaining('version 5 contains it')]);
    expect(result.outcome).toBe('not_due');
    expect(unsaved.get(SECRET)).toBeUndefined();
  });

  test.each<[string, (bed: Awaited<ReturnType<typeof bedWithUnsaved>>) => void]>([
    [
      'has another time of creation',
      ({ change }) => {
        change(4, key('theirs'));
      },
    ],
    [
      'is gone',
      ({ change, versions }) => {
        versions.clear();
        change(1, key('theirs'));
      },
    ],
  ])('the secret was recreated: the inspected version %s', async (_name, recreate) => {
    const bed = await bedWithUnsaved();
    recreate(bed);
    const { result, calls } = await bed.run();
    expect(result).toMatchObject({ outcome: 'not_due', keyId: 'theirs' });
    expect(result.warnings).toEqual([expect.stringContaining('the secret was recreated')]);
    expect(calls).not.toContain('add new');
  });

  test('not by a dry run', async () => {
    const { run, change, unsaved } = await bedWithUnsaved();
    change(5, key('theirs'));
    await run({ dryRun: true });
    expect(unsaved.get(SECRET)).toBeDefined();
  });

  test('not because the version that it was issued from was unlisted, so that its time is unknown', async () => {
    const bed = await bedWithUnsaved();
    bed.unsaved.set(SECRET, {
      credential: NEW_KEY,
      by: 'refresh',
      issuedAt: 0,
      newestAtIssue: 4,
      issuedFrom: { ...version(4), createdAt: NOW, unlisted: true },
    });
    expect((await bed.run()).result).toMatchObject({ outcome: 'rotated', keyId: 'new' });
  });
});

describe('a dry run with an unsaved credential', () => {
  test.each<[string, Plan]>([
    ['tells that it would be stored', {}],
    ['tells so when no other key can be issued', { next: error('KEY_NOT_REFRESHABLE') }],
    ['tells so when the current key expired', { contents: { 4: key('k4', NOW - 1) } }],
  ])('%s', async (_name, plan) => {
    const { run, unsaved, inspection } = testBed(plan);
    unsaved.set(SECRET, {
      credential: NEW_KEY,
      by: 'refresh',
      issuedAt: 0,
      issuedFrom: inspection.newest,
      newestAtIssue: 4,
    });
    expect((await run({ dryRun: true })).result).toMatchObject({
      outcome: 'dry_run',
      reason: "would rotate: an earlier run issued a key that isn't stored yet",
    });
    expect(unsaved.get(SECRET)).toBeDefined();
  });
});

describe('an unsaved credential that is rejected', () => {
  /** One answer about the new key after the other, and the last one from then on. */
  const answers = (...checks: KeyCheck[]): Plan['check'] => {
    let asked = 0;
    return (keyId) =>
      (keyId === 'new' ? checks[Math.min(asked++, checks.length - 1)] : undefined) ?? ACCEPTED;
  };

  test('is verified again in the next run, and stored', async () => {
    let check = REJECTED;
    const { run, clock, latest } = testBed({
      check: (keyId) => (keyId === 'new' ? check : ACCEPTED),
    });
    expect((await run()).result.error?.code).toBe('NEW_KEY_REJECTED');
    check = ACCEPTED;
    await clock.sleep(HOUR);
    const { result, calls } = await run();
    expect(result.reason).toBe("an earlier run issued a key that isn't stored yet");
    expect(effects(calls)).toEqual(['add new', 'disable 4']);
    expect(await latest()).toBe('new');
  });

  test('is replaced when another key is issued', async () => {
    const { run, unsaved, latest } = await bedWithUnsaved({
      check: answers(ACCEPTED, REJECTED),
      next: {
        issue: inTurn(
          { credential: NEW_KEY, warnings: [] },
          { credential: key('second', NOW + 30 * DAY), warnings: [] },
        ),
      },
    });
    expect((await run()).result).toMatchObject({ outcome: 'rotated', keyId: 'second' });
    expect(await latest()).toBe('second');
    expect(unsaved.get(SECRET)).toBeUndefined();
  });

  test('is verified once more and stored when another key is refused: its token is used', async () => {
    const { run } = await bedWithUnsaved({
      check: answers(ACCEPTED, REJECTED, ACCEPTED),
      next: {
        issue: inTurn<IssuedKey>(ISSUED, REFUSED),
      },
    });
    expect((await run()).result).toMatchObject({ outcome: 'rotated', keyId: 'new' });
  });

  test('stays when no other key can be issued, and is reported', async () => {
    const { run, unsaved } = testBed({
      next: error('KEY_NOT_REFRESHABLE'),
      check: answers(REJECTED),
    });
    unsaved.set(SECRET, { credential: NEW_KEY, by: 'refresh', issuedAt: 0, newestAtIssue: 4 });
    expect((await run()).result.error).toMatchObject({ code: 'NEW_KEY_REJECTED', step: 'verify' });
    expect(unsaved.get(SECRET)?.credential).toBe(NEW_KEY);
  });

  test('stays when it is unknown whether another key was issued', async () => {
    const { run, unsaved } = await bedWithUnsaved({
      check: answers(ACCEPTED, REJECTED),
      next: {
        issue: inTurn<IssuedKey>(ISSUED, error('MOMENTO_UNAVAILABLE')),
      },
    });
    expect((await run()).result.error?.code).toBe('MOMENTO_UNAVAILABLE');
    expect(unsaved.get(SECRET)?.credential).toBe(NEW_KEY);
  });
});
