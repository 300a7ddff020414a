import { look } from '../../../src/fleet/status';
import { DAY, HOUR, inTurn, NOW, secretName, SECOND, version } from '../support';
import {
  error,
  EXPIRES_AT,
  key,
  ownKey,
  scene,
  SECRET,
  STORE_REFUSES,
  type Plan,
} from '../rotation/scene';

const MANAGED = { managementKey: secretName('projects/p/secrets/management') };

/** A key that an earlier run could not store. */
const WAITING = { credential: key('k5'), by: 'refresh', issuedAt: NOW, newest: 4 } as const;

async function lookAt(plan: Plan, managed = {}) {
  const { begin, calls } = scene(plan);
  return { ...(await look({ ...begin(), ...managed })), calls };
}

test('tells of the newest version and its key, and changes nothing', async () => {
  const versions = [version(1, 'DESTROYED'), version(2, 'DISABLED'), version(3), version(4)];
  const {
    status,
    httpStatus,
    error: problem,
    calls,
  } = await lookAt({
    versions,
    policy: { renewBefore: { share: 0.2 } },
    store: { missingPermissions: inTurn<never>(STORE_REFUSES) },
  });
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
  'tells a newest version that is %s from the one that is used, and warns that readers fail',
  async (state) => {
    const { status, httpStatus } = await lookAt({
      versions: [version(3), version(4, state)],
      policy: { renewBefore: { ms: HOUR } },
    });
    expect(httpStatus).toBe(200);
    expect(status).toMatchObject({
      version: '4',
      state,
      ageSeconds: (5 * DAY) / SECOND,
      enabledVersion: '3',
      keyFingerprint: 'k3',
      nextRenewal: 'next run',
      warnings: [expect.stringContaining('readers of latest fail')],
    });
  },
);

describe('the next renewal', () => {
  const empty: Plan = { versions: [], secret: { role: 'r' } };
  const LATE = { policy: { renewBefore: { ms: 3 * DAY } } };

  test.each<[string, Plan, string | undefined]>([
    ['of a key with a renewal time', LATE, new Date(EXPIRES_AT - 3 * DAY).toISOString()],
    ['without one', {}, 'every run'],
    ['of a key that never expires', { ...LATE, holds: { 4: key('k4', Infinity) } }, 'next run'],
    ['of an empty secret', { ...empty, ...LATE }, 'next run'],
    [
      'of a key that cannot be renewed',
      { ...LATE, renewal: error('KEY_NOT_REFRESHABLE') },
      undefined,
    ],
  ])('%s', async (_name, plan, expected) => {
    expect((await lookAt(plan)).status.nextRenewal).toBe(expected);
  });

  test('a key without an expiry has no time left to tell of', async () => {
    const { status } = await lookAt({ holds: { 4: key('k4', Infinity) } });
    expect(status).not.toHaveProperty('expiresAt');
    expect(status).not.toHaveProperty('timeLeftSeconds');
  });
});

describe('what is in the way of the next key', () => {
  test('is told beside what is known', async () => {
    const {
      status,
      httpStatus,
      error: problem,
    } = await lookAt({ renewal: error('KEY_NOT_REFRESHABLE') });
    expect([httpStatus, problem?.code]).toEqual([422, 'KEY_NOT_REFRESHABLE']);
    expect(status).toMatchObject({
      version: '4',
      expiresAt: '2026-11-11T00:00:00.000Z',
      error: { code: 'KEY_NOT_REFRESHABLE', retryable: false },
    });
    expect(status).not.toHaveProperty('renewedBy');
  });

  test('may be the payload', async () => {
    const { status } = await lookAt({ holds: { 4: '?' } });
    expect(status).toMatchObject({
      version: '4',
      state: 'ENABLED',
      error: { code: 'PAYLOAD_INVALID' },
    });
  });
});

test('a secret that cannot be looked at has its error', async () => {
  const { status, httpStatus } = await lookAt({
    store: { list: inTurn<never>(error('SECRET_NOT_FOUND')) },
  });
  expect(httpStatus).toBe(404);
  expect(status).toMatchObject({
    secret: SECRET.name,
    error: { code: 'SECRET_NOT_FOUND', retryable: false },
  });
  expect(Object.keys(status)).toEqual(['secret', 'error']);
});

describe('keys of ours that no version holds', () => {
  const keys = ['k2', 'k4', 'young'].map((name) => ownKey(name, HOUR));
  const session = { ownKeys: inTurn(keys) };

  test('are counted', async () => {
    const { status } = await lookAt({ session }, MANAGED);
    expect(status.unheldKeys).toBe(2);
  });

  test('are not looked for without a management key', async () => {
    const { status } = await lookAt({ session: { ownKeys: inTurn<never>(STORE_REFUSES) } });
    expect(status).not.toHaveProperty('unheldKeys');
    expect(status).not.toHaveProperty('warnings');
  });

  test('are not counted when they cannot be looked up, which is but a warning', async () => {
    const failing = { ownKeys: inTurn<never>(error('MANAGEMENT_KEY_REFUSED')) };
    const { status, httpStatus } = await lookAt({ session: failing }, MANAGED);
    expect(httpStatus).toBe(200);
    expect(status.warnings).toEqual([
      'which keys no version holds could not be looked up (MANAGEMENT_KEY_REFUSED)',
    ]);
  });
});

test('keys are not counted while it is not certain what the versions hold', async () => {
  const plan = {
    session: { ownKeys: inTurn([ownKey('k2')]) },
    store: { exists: () => Promise.resolve(true) },
  };
  const { status } = await lookAt(plan, MANAGED);
  expect(status).not.toHaveProperty('unheldKeys');
  expect(status.warnings).toEqual([expect.stringContaining('a version has just changed')]);
});

test('warns of a key that waits in memory to be stored', async () => {
  const run = scene().begin();
  run.pending.keep(SECRET, WAITING);
  expect((await look(run)).status.warnings).toEqual([
    expect.stringContaining('run the job before it is stopped'),
  ]);
});
