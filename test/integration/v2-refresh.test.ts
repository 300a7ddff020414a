import { ENDPOINT } from '../emulators/account';
import type { Fault } from '../emulators/faults';
import { DAY, World } from './v2-support';

const world = new World();

const fault = (kind: Fault): Fault => kind;

describe('a v2 key with its refresh token', () => {
  it.each([
    ['apiJson', 'api_key', 'refresh_token'],
    ['consoleJson', 'apiKey', 'refreshToken'],
  ] as const)('is refreshed over HTTP, and written back as %s', async (form, key, token) => {
    const secret = world.held({}, { lifetimeSeconds: 10 * 24 * 3600 }, form);
    const old = world.keyOf(secret);
    const before = world.fields(secret);
    const result = await world.rotate(secret);
    const fresh = world.keyOf(secret);
    expect(result).toMatchObject({
      outcome: 'rotated',
      issuedBy: 'refresh',
      verified: true,
      keyId: fresh.info.key_id,
      previousVersion: '1',
      disabled: ['1'],
    });
    expect(result.revoked).toBeUndefined();
    const after = world.fields(secret);
    expect(Object.keys(after)).toEqual(Object.keys(before));
    expect(after).toMatchObject({ [key]: fresh.apiKey, [token]: fresh.refreshToken });
    expect(fresh.apiKey).not.toBe(old.apiKey);
    expect(fresh.info).toMatchObject({ role_id: old.info.role_id, description: 'of a person' });
    // It is not ours to end.
    expect(world.services.momento.account.isLive(old)).toBe(true);
    expect(world.services.timesCalled('RefreshApiToken')).toBe(0);
  });

  it('describes the new key by what Momento says of it', async () => {
    const secret = world.held();
    await world.rotate(secret);
    expect(world.fields(secret).key_info).toEqual(world.keyOf(secret).info);
  });

  it('is refreshed again and again', async () => {
    const secret = world.held();
    for (let run = 0; run < 3; run += 1) {
      expect((await world.rotate(secret)).outcome).toBe('rotated');
      world.services.clock.advance(DAY);
    }
    expect(world.services.states(secret)).toEqual(['DISABLED', 'DISABLED', 'DISABLED', 'ENABLED']);
  });

  it('is minted, and its token left alone, where there is a management key', async () => {
    const secret = world.held();
    const old = world.keyOf(secret);
    const result = await world.rotate(secret, { managementKey: world.managementKey() });
    expect(result).toMatchObject({ outcome: 'rotated', issuedBy: 'mint' });
    expect(world.fields(secret)).not.toHaveProperty('refresh_token');
    expect(world.services.momento.account.refreshable(old.refreshToken ?? '')).toBeDefined();
  });
});

describe('the new key is proved', () => {
  it('by the key API where nothing names a host', async () => {
    await world.rotate(world.held());
    expect(world.services.timesCalled('ListKeys')).toBe(1);
    expect(world.services.timesCalled('ListCaches')).toBe(0);
  });

  it.each([
    ['the payload names', 'consoleJson', {}],
    ['the configuration names', 'apiJson', { endpoint: ENDPOINT }],
  ] as const)('by the host that %s', async (_, form, setup) => {
    expect(await world.rotate(world.held({}, {}, form), setup)).toMatchObject({ verified: true });
    expect(world.services.timesCalled('ListCaches')).toBe(1);
    expect(world.services.timesCalled('ListKeys')).toBe(0);
  });

  it.each([{}, { endpoint: ENDPOINT }])('and waited for while it spreads: %j', async (setup) => {
    world.services.keyApi.newKeyRejections = 3;
    const secret = world.held();
    // Nobody can read what is not known yet, so readers would complain.
    expect(await world.rotate(secret, setup)).toMatchObject({ outcome: 'rotated', verified: true });
  });

  it.each([{}, { endpoint: ENDPOINT }])('and not added when it is rejected: %j', async (setup) => {
    world.services.keyApi.newKeyRejections = 1000;
    const secret = world.held();
    const result = await world.rotate(secret, setup);
    expect(result).toMatchObject({ outcome: 'failed', error: { code: 'NEW_KEY_REJECTED' } });
    expect(world.services.states(secret)).toEqual(['ENABLED']);
  });
});

describe('the path of the refresh', () => {
  it('is where the configuration says', async () => {
    world.services.keyApi.refreshPath = '/elsewhere/refresh';
    const secret = world.held();
    const result = await world.rotate(secret, { refreshPath: '/elsewhere/refresh' });
    expect(result.outcome).toBe('rotated');
  });

  it.each(['/nowhere', '/api-keys/some-id'])(
    'that Momento does not know (%s) is final, spends nothing and says so',
    async (refreshPath) => {
      const secret = world.held();
      const old = world.keyOf(secret);
      const { outcome, error } = await world.rotate(secret, { refreshPath });
      expect([outcome, error?.code, error?.retryable]).toEqual([
        'failed',
        'REFRESH_PATH_UNKNOWN',
        false,
      ]);
      expect(error?.message).toContain('MOMENTO_REFRESH_PATH');
      expect(world.services.called.filter((call) => call.startsWith('POST '))).toHaveLength(1);
      expect(world.services.momento.account.refreshable(old.refreshToken ?? '')).toBeDefined();
    },
  );
});

describe('a refresh whose answer is lost', () => {
  it.each([
    fault({ kind: 'drop', when: 'after' }),
    fault({ kind: 'status', status: 503, when: 'after' }),
    fault({ kind: 'html', status: 502, when: 'after' }),
    fault({ kind: 'half' }),
    fault({ kind: 'not-json' }),
    fault({ kind: 'corrupt' }),
  ])('is tried once more, and then told: %j', async (lost) => {
    world.services.keyApi.faults.inject('RefreshKey', 1, lost);
    const secret = world.held();
    const { outcome, error } = await world.rotate(secret);
    expect([outcome, error?.code]).toEqual(['failed', 'REFRESH_ANSWER_LOST']);
    // Until when readers are safe.
    const until = new Date((world.keyOf(secret).info.expires_at_epoch_seconds ?? 0) * 1000);
    expect(error?.message).toContain(until.toISOString().slice(0, 16));
    expect(world.services.timesCalled('RefreshKey')).toBe(2);
    expect(world.services.states(secret)).toEqual(['ENABLED']);
    // The next run has nothing but the spent token.
    expect((await world.rotate(secret)).error?.code).toBe('REFRESH_REFUSED');
    const managementKey = world.managementKey();
    expect(await world.rotate(secret, { managementKey })).toMatchObject({ outcome: 'rotated' });
  });

  it('and lost again is not tried for ever', async () => {
    world.services.keyApi.faults.inject('RefreshKey', 'every', { kind: 'drop', when: 'after' });
    const { error } = await world.rotate(world.held());
    // Nobody has refused anything yet.
    expect(error?.code).toBe('MOMENTO_UNAVAILABLE');
    expect(world.services.timesCalled('RefreshKey')).toBe(2);
  });

  it.each([
    fault({ kind: 'status', status: 429, retryAfter: '3', when: 'before' }),
    fault({ kind: 'status', status: 503, when: 'before' }),
    fault({ kind: 'drop', when: 'before' }),
  ])('is not what this is: %j', async (passing) => {
    world.services.keyApi.faults.inject('RefreshKey', 1, passing);
    expect((await world.rotate(world.held())).outcome).toBe('rotated');
  });

  it('and stored by another run is no loss', async () => {
    const secret = world.held();
    const [one, other] = await Promise.all([world.rotate(secret), world.rotate(secret)]);
    const outcomes = [one.outcome, other.outcome].toSorted();
    expect(outcomes).toEqual(['rotated', 'superseded']);
    expect(world.services.timesCalled('AddSecretVersion')).toBe(1);
  });
});

describe('a v2 key that cannot be refreshed', () => {
  it.each([
    ['for want of a token', { withRefreshToken: false }],
    ['because it never expires', { lifetimeSeconds: 'never' as const }],
  ])('%s is refused, and what to do is said', async (_, key) => {
    const secret = world.held({}, key);
    const { outcome, error } = await world.rotate(secret);
    expect([outcome, error?.code]).toEqual(['failed', 'KEY_NOT_REFRESHABLE']);
    expect(error?.message).toContain('set MANAGEMENT_KEY');
    expect(world.services.timesCalled('RefreshKey')).toBe(0);
  });

  it('as a bare key, neither', async () => {
    const secret = world.held({}, {}, 'apiKey');
    expect((await world.rotate(secret)).error?.code).toBe('KEY_NOT_REFRESHABLE');
  });

  it('because it has expired is told so', async () => {
    const secret = world.secret();
    const { apiJson } = world.services.momento.issueV2Key({ lifetimeSeconds: 60 });
    world.services.secretManager.addVersion(secret.name, apiJson);
    world.services.clock.advance(DAY);
    expect((await world.rotate(secret)).error?.code).toBe('KEY_EXPIRED');
  });
});
