import type { IssuedKey, KeyCheck, SecretStore, Version } from '../../../src/rotation/ports';
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
  QUOTA,
  REFUSED,
  REJECTED,
  SECRET,
  STORE_REFUSES,
  testBed,
  type Plan,
} from './test-bed';

const ISSUED: IssuedKey = { credential: NEW_KEY, warnings: [] };
const UNSAVED: IssuedCredential = {
  credential: NEW_KEY,
  by: 'refresh',
  issuedAt: 0,
  newestAtIssue: 4,
};
const STORED = { outcome: 'rotated', keyId: 'new' };
const REASON = "an earlier run issued a key that isn't stored yet";
const THEIRS = key('theirs');

/** A test bed in which a forced run used the token of version 4, and couldn't store the new key. */
async function bedWithUnsaved(plan: Plan = {}) {
  const bed = testBed({ policy: NOT_DUE, addFails: [STORE_REFUSES], ...plan });
  const { result } = await bed.run({ force: true });
  expect(result.error?.code).toBe('CREDENTIAL_NOT_STORED');
  expect(bed.unsaved.get(SECRET)?.credential).toBe(NEW_KEY);
  const change = (number: number, content = THEIRS, changes: Partial<Version> = {}) => {
    bed.versions.set(number, { ...version(number, 'ENABLED', NOW), ...changes });
    return bed.payloads.set(number, content.serialize());
  };
  return { ...bed, change };
}
type Bed = Awaited<ReturnType<typeof bedWithUnsaved>>;

describe('UnsavedCredentials', () => {
  test('keeps a refreshed credential until it is discarded, for its secret only', () => {
    const other = { ...SECRET, name: 'projects/p/secrets/other' };
    const unsaved = new UnsavedCredentials();
    unsaved.set(SECRET, UNSAVED);
    expect(unsaved.get(other)).toBeUndefined();
    unsaved.discard(other);
    expect(unsaved.get(SECRET)).toBe(UNSAVED);
    unsaved.discard(SECRET);
    expect(unsaved.get(SECRET)).toBeUndefined();
  });

  test('keeps no minted credential', () => {
    const unsaved = new UnsavedCredentials();
    unsaved.set(SECRET, { ...UNSAVED, by: 'mint' });
    expect(unsaved.get(SECRET)).toBeUndefined();
  });
});

test('the next run stores an unsaved credential first, and issues no other', async () => {
  const { run, latest, unsaved } = await bedWithUnsaved();
  const { result, calls } = await run();
  const versions = { version: '5', previousVersion: '4' };
  expect(result).toMatchObject({ ...STORED, ...versions, reason: REASON, verified: true });
  expect(effects(calls)).toEqual(['add new', 'disable 4']);
  expect(await latest()).toBe('new');
  expect(unsaved.get(SECRET)).toBeUndefined();
  expect((await run()).result.outcome).toBe('not_due');
});

describe('an unsaved credential is kept and stored when', () => {
  const disabled = { state: 'DISABLED' } as const;
  const { createdAt } = version(4);

  test.each<[string, (bed: Bed) => unknown]>([
    [
      'the version that it was issued from was disabled',
      ({ change }) => change(4, key('k4'), { ...disabled, createdAt }),
    ],
    [
      'the newer version contains the used token: the old payload was stored again',
      ({ change }) => change(5, key('k4')),
    ],
    ['the newer version is disabled', ({ change }) => change(5, THEIRS, disabled)],
    [
      'the newest version is unreadable',
      ({ change, unreadable }) => [change(5), unreadable.add(5)],
    ],
    [
      'the newest version is no credential',
      ({ change, payloads }) => [change(5), payloads.set(5, Buffer.from('?'))],
    ],
  ])('%s', async (_name, prepare) => {
    const bed = await bedWithUnsaved();
    prepare(bed);
    const { result, calls } = await bed.run();
    expect(result).toMatchObject(STORED);
    expect(calls).toContain('add new');
    expect(calls).not.toContain('issue');
    expect(await bed.latest()).toBe('new');
  });

  test.each([REJECTED, INCONCLUSIVE])(
    'the answer about the key of a newer version is $verdict',
    async (answer) => {
      const check = (keyId?: string) => (keyId === 'theirs' ? answer : ACCEPTED);
      const bed = await bedWithUnsaved({ check });
      bed.change(5);
      expect((await bed.run()).result).toMatchObject({ ...STORED, version: '6' });
    },
  );

  test.each<[string, Version[]]>([
    ['an older version', [version(3)]],
    ['no version', []],
  ])('reads lag behind and show %s', async (_name, versions) => {
    const bed = await bedWithUnsaved();
    const access: SecretStore['access'] = (_, number) =>
      Promise.resolve(
        number === 3 || number === 'latest'
          ? { kind: 'payload', number: 3, payload: key('k3').serialize() }
          : { kind: 'absent' },
      );
    Object.assign(bed.environment.store, { list: inTurn({ versions }), access });
    await bed.run();
    expect(bed.calls.filter((call) => call === 'add new')).toHaveLength(2);
    expect(bed.calls.filter((call) => call === 'issue')).toHaveLength(1);
    expect(bed.unsaved.get(SECRET)).toBeUndefined();
  });

  test.each([error('PERMISSION_MISSING'), QUOTA])(
    "the version that it was issued from can't be looked up: $code",
    async (failure) => {
      const { run, latest, clock } = await bedWithUnsaved({
        store: { get: inTurn<never>(failure) },
      });
      const start = clock.monotonic();
      expect((await run()).result).toMatchObject(STORED);
      expect(clock.monotonic() - start).toBeLessThanOrEqual(30 * SECOND);
      expect(await latest()).toBe('new');
    },
  );

  test('the version that it was issued from was unlisted, so that its time is unknown', async () => {
    const bed = await bedWithUnsaved();
    const issuedFrom = { ...version(4), createdAt: NOW, unlisted: true };
    bed.unsaved.set(SECRET, { ...UNSAVED, issuedFrom });
    expect((await bed.run()).result).toMatchObject(STORED);
  });

  test('the run is a dry run', async () => {
    const { run, change, unsaved } = await bedWithUnsaved();
    change(5);
    await run({ dryRun: true });
    expect(unsaved.get(SECRET)).toBeDefined();
  });
});

describe('an unsaved credential is dropped when', () => {
  test.each<[string, (bed: Bed) => unknown, string]>([
    [
      'a newer version has a key that is accepted',
      ({ change }) => change(5),
      'version 5 was added since',
    ],
    ['a newer version contains it', ({ change }) => change(5, NEW_KEY), 'version 5 contains it'],
    [
      'its version has another time of creation',
      ({ change }) => change(4),
      'the secret was recreated',
    ],
    [
      'its version is gone',
      ({ change, versions }) => versions.delete(3) && versions.delete(4) && change(1),
      'the secret was recreated',
    ],
  ])('%s', async (_name, prepare, reason) => {
    const bed = await bedWithUnsaved();
    prepare(bed);
    const { result, calls } = await bed.run();
    const newest = Math.max(...bed.versions.keys());
    expect(result).toMatchObject({ outcome: 'not_due', version: String(newest) });
    expect(result.warnings).toEqual([
      `a key that an earlier run couldn't store isn't needed any more: ${reason}`,
    ]);
    expect(effects(calls)).toEqual(newest === 5 ? ['disable 4'] : []);
    expect(bed.unsaved.get(SECRET)).toBeUndefined();
  });
});

test.each<[string, Plan]>([
  ['', {}],
  [' when no other key can be issued', { next: error('KEY_NOT_REFRESHABLE') }],
  [' when the current key expired', { contents: { 4: key('k4', NOW - 1) } }],
])('a dry run reports that an unsaved credential would be stored%s', async (_name, plan) => {
  const { run, unsaved, inspection } = testBed(plan);
  unsaved.set(SECRET, { ...UNSAVED, issuedFrom: inspection.newest });
  const { result } = await run({ dryRun: true });
  expect(result).toMatchObject({ outcome: 'dry_run', reason: `would rotate: ${REASON}` });
  expect(unsaved.get(SECRET)).toBeDefined();
});

describe('an unsaved credential that is rejected', () => {
  /** One answer about the new key after the other, and the last one from then on. */
  const answers = (...checks: KeyCheck[]): Plan['check'] => {
    let asked = 0;
    return (keyId) =>
      (keyId === 'new' ? checks[Math.min(asked++, checks.length - 1)] : undefined) ?? ACCEPTED;
  };

  test('is verified again in the next run, and stored', async () => {
    let answer = REJECTED;
    const check = (keyId?: string) => (keyId === 'new' ? answer : ACCEPTED);
    const { run, clock, latest } = testBed({ check });
    expect((await run()).result.error?.code).toBe('NEW_KEY_REJECTED');
    answer = ACCEPTED;
    await clock.sleep(HOUR);
    const { result, calls } = await run();
    expect(result.reason).toBe(REASON);
    expect(effects(calls)).toEqual(['add new', 'disable 4']);
    expect(await latest()).toBe('new');
  });

  test('is replaced when another key is issued', async () => {
    const second = { credential: key('second', NOW + 30 * DAY), warnings: [] };
    const { run, unsaved, latest } = await bedWithUnsaved({
      check: answers(ACCEPTED, REJECTED),
      next: { issue: inTurn(ISSUED, second) },
    });
    expect((await run()).result).toMatchObject({ outcome: 'rotated', keyId: 'second' });
    expect(await latest()).toBe('second');
    expect(unsaved.get(SECRET)).toBeUndefined();
  });

  test('is verified once more and stored when another key is refused, because its token is used', async () => {
    const { run } = await bedWithUnsaved({
      check: answers(ACCEPTED, REJECTED, ACCEPTED),
      next: { issue: inTurn<IssuedKey>(ISSUED, REFUSED) },
    });
    expect((await run()).result).toMatchObject(STORED);
  });

  test('stays when no other key can be issued, and is reported', async () => {
    const next = error('KEY_NOT_REFRESHABLE');
    const { run, unsaved } = testBed({ next, check: answers(REJECTED) });
    unsaved.set(SECRET, UNSAVED);
    expect((await run()).result.error).toMatchObject({ code: 'NEW_KEY_REJECTED', step: 'verify' });
    expect(unsaved.get(SECRET)?.credential).toBe(NEW_KEY);
  });

  test('stays when it is unknown whether another key was issued', async () => {
    const { run, unsaved } = await bedWithUnsaved({
      check: answers(ACCEPTED, REJECTED),
      next: { issue: inTurn<IssuedKey>(ISSUED, error('MOMENTO_UNAVAILABLE')) },
    });
    expect((await run()).result.error?.code).toBe('MOMENTO_UNAVAILABLE');
    expect(unsaved.get(SECRET)?.credential).toBe(NEW_KEY);
  });
});
