import { statusOf } from '../../../src/rotation/status';
import { DAY, HOUR, inTurn, NOW, secretName, SECOND, version } from '../support';
import {
  error,
  EXPIRES_AT,
  key,
  NEW_KEY,
  ownKey,
  SECRET,
  STORE_REFUSES,
  testBed,
  type Plan,
} from './test-bed';

const MANAGED = { managementKey: secretName('projects/p/secrets/management') };
const LATE: Plan['policy'] = { renewBefore: { minimumMs: 3 * DAY } };

const BLOCKER = error('KEY_NOT_REFRESHABLE');
const FOREVER = { 4: key('k4', Infinity) };

async function statusIn(plan: Plan = {}, managed = {}) {
  const { begin, calls } = testBed(plan);
  return { ...(await statusOf({ ...begin(), ...managed })), calls };
}

test('reports the newest version and its key, and changes nothing', async () => {
  const versions = [version(1, 'DESTROYED'), version(2, 'DISABLED'), version(3), version(4)];
  const { status, httpStatus, error: problem, calls } = await statusIn({ versions, policy: LATE });
  expect([httpStatus, problem]).toEqual([200, undefined]);
  expect(status).toEqual({
    secret: SECRET.name,
    version: '4',
    state: 'ENABLED',
    ageSeconds: (5 * DAY) / SECOND,
    keyFingerprint: 'k4',
    keyId: 'k4',
    expiresAt: '2026-11-11T00:00:00.000Z',
    timeLeftSeconds: (10 * DAY) / SECOND,
    nextRenewal: '2026-11-08T00:00:00.000Z',
    renewedBy: 'refresh',
    enabledVersions: 2,
    disabledVersions: 1,
  });
  expect(calls).toEqual([]);
});

test.each(['DISABLED', 'DESTROYED'] as const)(
  'tells a newest version that is %s from the version that is used',
  async (state) => {
    const { status, httpStatus } = await statusIn({
      versions: [version(3), version(4, state)],
      policy: LATE,
    });
    expect(httpStatus).toBe(200);
    expect(status).toMatchObject({
      version: '4',
      state,
      ageSeconds: (5 * DAY) / SECOND,
      enabledVersion: '3',
      keyFingerprint: 'k3',
      nextRenewal: 'next run',
      warnings: [expect.stringContaining('applications that read latest get an error')],
    });
  },
);

test('reports an unreadable newest version as UNREADABLE, not as disabled', async () => {
  const { status, httpStatus } = await statusIn({
    versions: [version(3), version(4)],
    unreadable: [4],
  });
  expect(httpStatus).toBe(409);
  expect(status).toMatchObject({
    version: '4',
    state: 'UNREADABLE',
    enabledVersions: 2,
    disabledVersions: 0,
    error: { code: 'VERSION_UNREADABLE' },
  });
  expect(status.keyFingerprint).toBeUndefined();
});

describe('nextRenewal', () => {
  const empty: Plan = { versions: [], secret: { role: 'r' } };
  const unreadable: Plan = { unreadable: [4], next: { by: 'mint' } };

  test.each<[string, Plan, string | undefined]>([
    ['the renewal time', { policy: LATE }, new Date(EXPIRES_AT - 3 * DAY).toISOString()],
    ['every run', {}, 'every run'],
    ['the next run for a key that never expires', { policy: LATE, contents: FOREVER }, 'next run'],
    ['the next run for an empty secret', { ...empty, policy: LATE }, 'next run'],
    ['the next run for an unreadable version', { ...unreadable, policy: LATE }, 'next run'],
    ["unset for a key that can't be renewed", { policy: LATE, next: BLOCKER }, undefined],
  ])('is %s', async (_name, plan, expected) => {
    expect((await statusIn(plan)).status.nextRenewal).toBe(expected);
  });
});

test('reports no time left for a key that never expires', async () => {
  const { status } = await statusIn({ contents: FOREVER });
  expect([status.expiresAt, status.timeLeftSeconds]).toEqual([undefined, undefined]);
});

describe('a blocker', () => {
  test('is reported together with the key', async () => {
    const run = await statusIn({ next: BLOCKER });
    const { status, httpStatus } = run;
    expect([httpStatus, run.error?.code]).toEqual([422, 'KEY_NOT_REFRESHABLE']);
    expect(status).toMatchObject({
      version: '4',
      expiresAt: '2026-11-11T00:00:00.000Z',
      renewedBy: undefined,
    });
    expect(status.error).toEqual({
      code: 'KEY_NOT_REFRESHABLE',
      help: 'docs/operate/error-codes.md#key-not-refreshable',
      message:
        'Test: KEY_NOT_REFRESHABLE. Applications can use the current key until 2026-11-11T00:00:00.000Z. Repair the test.',
      retryable: false,
    });
  });

  test('is KEY_EXPIRED when the key expired and is refreshed', async () => {
    const expired: Plan = { contents: { 4: key('k4', NOW - DAY) }, policy: LATE };
    const { status, httpStatus } = await statusIn(expired);
    expect(httpStatus).toBe(422);
    expect(status).toMatchObject({ timeLeftSeconds: -86_400, error: { code: 'KEY_EXPIRED' } });
    expect(status.nextRenewal).toBeUndefined();
    expect((await statusIn({ ...expired, next: { by: 'mint' } })).status.error).toBeUndefined();
  });
});

test('reports only the error of a secret that cannot be inspected', async () => {
  const { status, httpStatus } = await statusIn({
    store: { list: inTurn<never>(error('SECRET_NOT_FOUND')) },
  });
  expect(httpStatus).toBe(404);
  expect(status).toEqual({
    secret: SECRET.name,
    error: {
      code: 'SECRET_NOT_FOUND',
      help: 'docs/operate/error-codes.md#secret-not-found',
      message:
        "Test: SECRET_NOT_FOUND. It isn't known whether applications are affected. Repair the test.",
      retryable: false,
    },
  });
});

describe('the counts of keys', () => {
  const ownKeys = ['k2', 'k4', 'young'].map((name) => ownKey(name, HOUR));

  test('are reported with a management key', async () => {
    const { status } = await statusIn({ ownKeys }, MANAGED);
    expect(status).toMatchObject({ liveKeys: 3, orphanedKeys: 2, warnings: undefined });
  });

  test('are left out without a management key', async () => {
    const { status } = await statusIn({ session: { ownKeys: inTurn<never>(STORE_REFUSES) } });
    const { liveKeys, orphanedKeys, warnings } = status;
    expect([liveKeys, orphanedKeys, warnings]).toEqual([undefined, undefined, undefined]);
  });

  const SKIPPED = "2 entries of the account's list of keys couldn't be read";
  const skips: Plan = {
    session: { ownKeys: inTurn({ keys: ownKeys, skipped: 2, warnings: [SKIPPED] }) },
  };
  const refused = inTurn<never>(error('MANAGEMENT_KEY_REFUSED'));
  const unreadable: Plan = { ownKeys, versions: [version(3), version(4)], unreadable: [3] };
  const UNCOUNTED = "the keys couldn't be counted (MANAGEMENT_KEY_REFUSED)";
  const UNREADABLE =
    "orphaned keys couldn't be counted: version 3 is enabled and can't be read (FAILED_PRECONDITION)";

  test.each<[string, Plan, (number | undefined)[], string]>([
    ['entries were skipped', skips, [3, 2], SKIPPED],
    ["keys can't be listed", { session: { ownKeys: refused } }, [undefined, undefined], UNCOUNTED],
    ["a superseded version can't be read", unreadable, [3, undefined], UNREADABLE],
  ])('cause a warning and no failure when %s', async (_name, plan, counts, warning) => {
    const { status, httpStatus } = await statusIn(plan, MANAGED);
    expect(httpStatus).toBe(200);
    expect([status.liveKeys, status.orphanedKeys]).toEqual(counts);
    expect(status.warnings).toEqual([warning]);
  });
});

test('warns of an unsaved credential', async () => {
  const run = testBed().begin();
  run.unsaved.set(SECRET, { credential: NEW_KEY, by: 'refresh', issuedAt: 0, newestAtIssue: 4 });
  expect((await statusOf(run)).status.warnings).toEqual([
    expect.stringContaining('run the job before the instance ends'),
  ]);
});
