/** Rotations with faults of the network and of the services, with real clients. */
import { HOUR, MINUTE, SECOND } from '../../src/duration';
import type { Secret } from '../../src/rotation/ports';
import type { Step } from '../../src/rotation/run';
import { expiryOf, NOT_DUE, TERMS, TestBed, type Seeded, type Setup } from './test-bed';

let bed: TestBed;

beforeEach(async () => {
  bed = await TestBed.start();
});
afterEach(async () => {
  await bed.stop();
  bed.expectSafe();
});

describe('a run rotates', () => {
  // The last column is how often the method is called in the end.
  it.each<[string, number, string, number]>([
    ['AccessSecretVersion', 1, 'corrupt', 3],
    // The second one looks for a newer version by its number.
    ['AccessSecretVersion', 2, 'drop before', 3],
    ['ListSecretVersions', 1, 'drop before', 2],
    ['TestIamPermissions', 1, 'UNAVAILABLE before', 2],
    ['RefreshApiToken', 1, 'UNAVAILABLE before', 2],
    ['RefreshApiToken', 1, 'drop after', 2],
    ['ListCaches', 1, 'UNAUTHENTICATED before', 2],
    ['AddSecretVersion', 1, 'RESOURCE_EXHAUSTED before', 2],
    // The version is found by its number, and not added again.
    ['AddSecretVersion', 1, 'drop after', 1],
    ['AddSecretVersion', 1, 'corrupt', 1],
    ['DisableSecretVersion', 1, 'UNAVAILABLE after', 2],
  ])('when %s, call %d, has the fault %s', async (method, nth, fault, calls) => {
    // It isn't known whether a v1 token works once. Then a lost answer couldn't be repeated.
    const isLost = method === 'RefreshApiToken' && fault.endsWith('after');
    bed.momento.refreshTokens = isLost ? 'reusable' : 'single-use';
    const seeded = bed.seed();
    bed.inject(method, nth, fault);
    const { result, status } = await bed.rotate(seeded.secret);
    expect(result).toMatchObject({ outcome: 'rotated', verified: true, version: '2' });
    expect(status).toBe(200);
    expect(bed.timesCalled(method)).toBe(calls);
    expect(bed.states(seeded.secret)).toEqual(['DISABLED', 'ENABLED']);
    bed.expectRenewed(seeded);
  });

  it.each([{ writesPerMinute: 1 }, { readsPerMinute: 1, accessesPerMinute: 1 }])(
    'after the next minute begins when the quota is %j',
    async (quotas) => {
      const { secret } = bed.seed();
      bed.secretManager.quotas = quotas;
      const { result, durationMs } = await bed.rotate(secret);
      expect(result).toMatchObject({ outcome: 'rotated', disabled: ['1'] });
      expect(durationMs).toBeGreaterThan(30 * SECOND);
      expect(durationMs).toBeLessThan(3 * MINUTE);
    },
  );
});

describe('a run fails, applications see no change, and the next run rotates', () => {
  it.each<[string, string, string, Step, number]>([
    ['AccessSecretVersion', 'corrupt', 'PAYLOAD_CORRUPT', 'inspect', 502],
    ['ListSecretVersions', 'INTERNAL before', 'SECRET_MANAGER_UNAVAILABLE', 'inspect', 503],
    ['RefreshApiToken', 'hang before', 'MOMENTO_UNAVAILABLE', 'issue', 503],
    ['RefreshApiToken', 'RESOURCE_EXHAUSTED before', 'MOMENTO_LIMIT_EXCEEDED', 'issue', 429],
    ['RefreshApiToken', 'PERMISSION_DENIED before', 'REFRESH_REFUSED', 'issue', 502],
    ['RefreshApiToken', 'corrupt', 'ISSUED_CREDENTIAL_INVALID', 'issue', 502],
    ['AddSecretVersion', 'UNAVAILABLE before', 'CREDENTIAL_NOT_STORED', 'add', 503],
  ])('when %s always fails with %s: %s', async (method, fault, code, step, httpStatus) => {
    const seeded = bed.seed();
    const instance = bed.instance([seeded.secret]);
    bed.inject(method, 'every', fault);
    const deadline = bed.clock.monotonic() + 3 * MINUTE;
    const { result, status, durationMs } = await instance.rotate({ deadline });
    expect(result).toMatchObject({ outcome: 'failed', error: { code, step } });
    expect(result.error?.message).toMatch(/applications|Applications/);
    expect(status).toBe(httpStatus);
    expect(durationMs).toBeLessThanOrEqual(3 * MINUTE);
    expect(bed.states(seeded.secret)).toEqual(['ENABLED']);
    if (step === 'inspect') expect(bed.momento.faults.calls).toEqual([]);
    if (fault === 'corrupt' && step === 'issue') expect(bed.timesCalled(method)).toBe(1);

    bed.endFaults();
    const { result: next } = await instance.rotate();
    expect(next).toMatchObject({ outcome: 'rotated', version: '2', disabled: ['1'] });
    bed.expectRenewed(seeded);
  });
});

describe('a run is incomplete, and the next one finishes it without another key', () => {
  it.each<[string, string, string, Step]>([
    ['ListCaches', 'hang before', 'VERIFY_INCONCLUSIVE', 'verify'],
    // The same host rejects the current key, so the host is wrong.
    ['ListCaches', 'UNAUTHENTICATED before', 'VERIFY_INCONCLUSIVE', 'verify'],
    ['DisableSecretVersion', 'UNAVAILABLE before', 'SECRET_MANAGER_UNAVAILABLE', 'disable'],
  ])('when %s always fails with %s: %s', async (method, fault, code, step) => {
    const seeded = bed.seed();
    const setup = { policy: NOT_DUE };
    bed.inject(method, 'every', fault);
    const { result, status } = await bed.rotate(seeded.secret, setup, { force: true });
    expect(result).toMatchObject({ outcome: 'incomplete', version: '2', error: { code, step } });
    expect(result.error?.message).toContain('Applications can use the current key until');
    expect(status).toBe(503);
    expect(bed.states(seeded.secret)).toEqual(['ENABLED', 'ENABLED']);
    bed.expectRenewed(seeded);

    bed.endFaults();
    const { result: next } = await bed.rotate(seeded.secret, setup);
    expect(next).toMatchObject({ outcome: 'not_due', verified: true, disabled: ['1'] });
    expect(bed.timesCalled('RefreshApiToken')).toBe(1);
  });
});

describe('a run fails before a key is issued', () => {
  /** A secret whose first version is stored without looking at it. */
  const stored = (payload: string, options?: { crc?: number; state?: 'DISABLED' }): Secret => {
    const secret = bed.emptySecret();
    bed.secretManager.addVersion(secret.name, payload, options);
    return secret;
  };
  const missing = (): Secret => ({ ...bed.newName(), payload: 'json' });
  const key = (): string => bed.momento.issueKey().consoleJson;
  const empty = (): Secret => bed.emptySecret(TERMS);
  const none = (): Setup => ({});
  const managed = (): Setup => ({ managementKey: bed.managementKey() });
  const unlisted = (): Secret => {
    const secret = bed.seedV2({}, {}, 'apiKey');
    bed.unwatch(secret);
    bed.momento.account.revoke(bed.keyOf(secret).info.key_id, 'operator');
    return secret;
  };
  const unreadable = (): Setup => {
    const managementKey = bed.managementKey();
    bed.unwatch(managementKey);
    bed.secretManager.setKeyState(managementKey.name, '1', 'DISABLED');
    return { managementKey };
  };

  it.each<[string, number, string, () => Secret, () => Setup]>([
    ['SECRET_NOT_FOUND', 404, 'the secret does not exist', missing, none],
    ['NO_VERSION', 409, 'the secret is empty', () => bed.emptySecret(), none],
    [
      'NO_ENABLED_VERSION',
      409,
      'none is enabled',
      () => stored(key(), { state: 'DISABLED' }),
      none,
    ],
    ['PAYLOAD_CORRUPT', 502, 'the checksum is wrong', () => stored(key(), { crc: 42 }), none],
    [
      'KEY_NOT_REFRESHABLE',
      422,
      'a v2 key is stored without a refresh token',
      () => bed.seedV2({}, {}, 'apiKey'),
      none,
    ],
    ['ROLE_UNKNOWN', 422, "Momento's list doesn't contain the key", unlisted, managed],
    [
      'SECRET_NOT_FOUND',
      404,
      'the secret of the management key does not exist',
      empty,
      () => ({ managementKey: missing() }),
    ],
    [
      'VERSION_UNREADABLE',
      409,
      'the encryption key of the management key is disabled',
      empty,
      unreadable,
    ],
  ])('with %s (%d) when %s', async (code, httpStatus, _, makeSecret, makeSetup) => {
    const { result, status } = await bed.rotate(makeSecret(), makeSetup());
    expect(result).toMatchObject({ outcome: 'failed', error: { code } });
    expect(status).toBe(httpStatus);
    const changes = bed.called.filter((method) => /^(Refresh|Create|Add|Disable)/.test(method));
    expect(changes).toEqual([]);
  });

  it('naming the project when the API is disabled', async () => {
    bed.secretManager.isEnabled = false;
    const { result } = await bed.rotate(missing());
    expect(result.error?.message).toMatch(
      /SERVICE_DISABLED, projects\/\d+.* Enable secretmanager\.googleapis\.com in projects\/\d+/,
    );
  });
});

describe('a key that Momento rejects', () => {
  it('is reported when it is the newest one and not due', async () => {
    const { secret, key } = bed.seed({ isWatched: false });
    bed.momento.revoke(key.apiKey);
    bed.clock.advance(HOUR);
    const { result, status } = await bed.rotate(secret, { policy: NOT_DUE });
    expect(result).toMatchObject({
      outcome: 'failed',
      verified: false,
      error: { code: 'NEWEST_KEY_REJECTED', step: 'verify', retryable: false },
    });
    expect(result.error?.message).toContain('Applications are being rejected now.');
    expect(status).toBe(409);
    expect(bed.timesCalled('RefreshApiToken')).toBe(0);
  });

  it('is verified again by every run, and added by none, when it is the new one', async () => {
    bed.momento.newKeyLagMs = 10 * HOUR;
    const seeded = bed.seed();
    const instance = bed.instance([seeded.secret]);
    const rejected = { outcome: 'failed', error: { code: 'NEW_KEY_REJECTED', step: 'verify' } };
    expect((await instance.rotate()).result).toMatchObject(rejected);
    expect((await instance.rotate()).result).toMatchObject(rejected);
    expect(bed.states(seeded.secret)).toEqual(['ENABLED']);
    bed.momento.newKeyLagMs = 0;
    expect((await instance.rotate()).result).toMatchObject({ outcome: 'rotated', disabled: ['1'] });
    bed.expectRenewed(seeded);
  });
});

it.each(['INTERNAL after', 'drop after'])(
  'a refresh token that works once is used when the answer is lost (%s): REFRESH_ANSWER_LOST',
  async (fault) => {
    bed.momento.refreshTokens = 'single-use';
    const { secret, key } = bed.seed();
    bed.inject('RefreshApiToken', 1, fault);
    const { result, status } = await bed.rotate(secret);
    expect(result.error).toMatchObject({ code: 'REFRESH_ANSWER_LOST', step: 'issue' });
    const impact = `Applications can use the current key until ${expiryOf(key)}.`;
    expect(result.error?.message).toContain(impact);
    expect(result.error?.message).toContain(`store it as a new version of ${secret.name}`);
    expect(status).toBe(502);
    expect(bed.states(secret)).toEqual(['ENABLED']);
  },
);

describe('an unsaved credential', () => {
  let seeded: Seeded;
  let instance: ReturnType<TestBed['instance']>;

  beforeEach(async () => {
    bed.momento.refreshTokens = 'single-use';
    // Versions 1 and 2 contain different keys. The credential is issued from version 2.
    seeded = { ...bed.seed(), key: bed.momento.issueKey() };
    bed.addVersion(seeded.secret, seeded.key.consoleJson);
    instance = bed.instance([seeded.secret], { policy: NOT_DUE });
    bed.inject('AddSecretVersion', 'every', 'UNAVAILABLE before');
    const deadline = bed.clock.monotonic() + 2 * MINUTE;
    const { result, durationMs } = await instance.rotate({ force: true, deadline });
    expect(result.error).toMatchObject({ code: 'CREDENTIAL_NOT_STORED', retryable: true });
    // The add is retried until shortly before the deadline.
    expect(durationMs).toBeGreaterThan(MINUTE);
    expect(durationMs).toBeLessThanOrEqual(2 * MINUTE);
    bed.endFaults();
  });

  const STORED = {
    outcome: 'rotated',
    reason: "an earlier run issued a key that isn't stored yet",
    verified: true,
  };

  it('is stored by the next run, due or not', async () => {
    expect((await instance.rotate()).result).toMatchObject({
      ...STORED,
      version: '3',
      disabled: ['1', '2'],
    });
    expect(bed.timesCalled('RefreshApiToken')).toBe(1);
    bed.expectRenewed(seeded);
  });

  it('is kept while reads lag and show an older version than at its issue', async () => {
    Object.assign(bed.secretManager, { staleLists: 1, staleLatest: 1 });
    expect((await instance.rotate()).result).toMatchObject({ outcome: 'superseded', version: '2' });
    Object.assign(bed.secretManager, { staleLists: 0, staleLatest: 0 });
    expect((await instance.rotate()).result).toMatchObject(STORED);
    expect(bed.timesCalled('RefreshApiToken')).toBe(1);
    bed.expectRenewed(seeded);
  });

  it('is dropped when somebody added another key', async () => {
    bed.addVersion(seeded.secret);
    const { result } = await instance.rotate();
    expect(result).toMatchObject({
      outcome: 'not_due',
      version: '3',
      warnings: [
        "a key that an earlier run couldn't store isn't needed any more: version 3 was added since",
      ],
    });
    expect((await instance.rotate()).result.warnings).toBeUndefined();
  });
});

test('few copies of a key are added when Secret Manager adds versions 12 s late', async () => {
  const seeded = bed.seed();
  bed.secretManager.additionDelayMs = 12 * SECOND;
  // The client waits for 10 s. That is real time, so the answer is late instead.
  bed.intercept(({ method }, at) =>
    method === 'AddSecretVersion' && at === 'after' ? bed.clock.sleep(10 * SECOND) : undefined,
  );
  expect((await bed.rotate(seeded.secret)).result).toMatchObject({
    outcome: 'rotated',
    version: '2',
  });
  expect(bed.timesCalled('AddSecretVersion')).toBe(2);
  bed.secretManager.additionDelayMs = 0;
  bed.clock.advance(MINUTE);
  await bed.rotate(seeded.secret, { policy: NOT_DUE });
  expect(bed.states(seeded.secret)).toEqual(['DISABLED', 'DISABLED', 'ENABLED']);
  bed.expectRenewed(seeded);
});
