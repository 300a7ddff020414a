/** Rotations of v1, v2 and minted keys by the real clients over real sockets, with faults of the network and of the services. */
import { createHash } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { DAY, HOUR, isoTime, MINUTE, SECOND } from '../../src/duration';
import type { Step } from '../../src/rotation/run';
import type { HttpRequest } from '../../emulators/http-host';
import { START } from '../virtual-clock';
import { NOT_DUE, REVOKE, TERMS, TestBed, type Seeded } from './test-bed';

let bed: TestBed;

beforeEach(async () => {
  bed = await TestBed.start();
});
afterEach(async () => {
  await bed.stop();
  bed.expectSafe();
});

/** A v1 key with a single-use refresh token, or a v2 key. */
function seed(method: string): Pick<Seeded, 'secret'> & { expectRenewed: () => void } {
  if (method.endsWith('Key') || method === 'ListKeys') {
    const secret = bed.seedV2();
    const { apiKey } = bed.keyOf(secret);
    return { secret, expectRenewed: () => expect(bed.keyOf(secret).apiKey === apiKey).toBe(false) };
  }
  bed.momento.refreshTokens = 'single-use';
  const seeded = bed.seed();
  return { secret: seeded.secret, expectRenewed: () => bed.expectRenewed(seeded) };
}

describe('a rotation of a v1 key', () => {
  it('adds a verified key as the newest version, and disables the version before', async () => {
    const seeded = bed.seed();
    const { result, status, keyFingerprint, steps } = await bed.rotate(seeded.secret);
    expect(result).toEqual({
      secret: seeded.secret.name,
      outcome: 'rotated',
      reason: 'every run rotates',
      issuedBy: 'refresh',
      version: '2',
      previousVersion: '1',
      expiresAt: isoTime(START + 30 * DAY),
      verified: true,
      disabled: ['1'],
    });
    expect(status).toBe(200);
    expect(bed.states(seeded.secret)).toEqual(['DISABLED', 'ENABLED']);
    bed.expectRenewed(seeded);
    const { apiKey, note } = bed.latest(seeded.secret);
    expect(note).toBe(seeded.note);
    const hash = createHash('sha256').update(String(apiKey)).digest('hex');
    expect(keyFingerprint).toBe(hash.slice(0, 8));
    expect(Object.keys(steps)).toEqual(['inspect', 'issue', 'verify', 'add', 'disable']);
    const { calls } = bed.secretManager.faults;
    expect(calls.find(({ method }) => method === 'AddSecretVersion')?.request).toMatchObject({
      payload: { dataCrc32c: expect.stringMatching(/^\d+$/) as string },
    });
  });

  it('takes one round trip for each step', async () => {
    const rounds = [
      ['AccessSecretVersion', 'ListSecretVersions', 'TestIamPermissions'],
      ['RefreshApiToken'],
      ['AccessSecretVersion', 'ListCaches'],
      ['AddSecretVersion'],
      ['DisableSecretVersion'],
    ];
    const { secret } = bed.seed();
    const seen: string[][] = [[]];
    let blocked: (() => void)[] = [];
    // No call is answered before all calls of its round have arrived.
    const release = bed.clock.hold();
    bed.intercept(async ({ method }, at) => {
      if (at === 'after') return;
      const round = seen.at(-1) ?? [];
      const others = new Promise<void>((resolve) => blocked.push(resolve));
      if (round.push(method) === rounds[seen.length - 1]?.length) {
        for (const resolve of blocked) resolve();
        blocked = [];
        seen.push([]);
      }
      await others;
    });
    const { result } = await bed.rotate(secret);
    release();
    expect(result.outcome).toBe('rotated');
    expect(seen.map((round) => round.toSorted())).toEqual([...rounds, []]);
  });

  it.each([
    'projects/example.com:my-project',
    'projects/4711',
    'projects/my-project/locations/europe-west6',
  ])('refreshes the key that the run before stored when the secret is in %s', async (parent) => {
    const seeded = bed.seed({ parent });
    await bed.rotate(seeded.secret);
    const { result } = await bed.rotate(seeded.secret);
    expect(result).toMatchObject({ outcome: 'rotated', version: '3', disabled: ['2'] });
    bed.expectRenewed(seeded);
  });

  it('leaves no connection to Momento open', async () => {
    const toMomento: Socket[] = [];
    const collect = (message: unknown): void => {
      const { socket } = message as { socket: Socket };
      socket.once('connect', () => {
        if (bed.momento.host.endsWith(`:${socket.remotePort ?? ''}`)) toMomento.push(socket);
      });
    };
    subscribe('net.client.socket', collect);
    try {
      const { secret } = bed.seed();
      await bed.rotate(secret);
      bed.inject('RefreshApiToken', 'every', 'PERMISSION_DENIED before');
      await bed.rotate(secret);
    } finally {
      unsubscribe('net.client.socket', collect);
    }
    expect(toMomento.length).toBeGreaterThanOrEqual(3);
    // Never settles if a connection stays open.
    const open = toMomento.filter(({ destroyed }) => !destroyed);
    await Promise.all(open.map((socket) => once(socket, 'close')));
  });

  it('adds no version when lists and latest lag, and only an access by number finds the newest version', async () => {
    const { secret } = bed.seed();
    bed.addVersion(secret);
    Object.assign(bed.secretManager, { staleLists: 1, staleLatest: 1 });
    const { result } = await bed.rotate(secret);
    expect(result).toMatchObject({ outcome: 'superseded', version: '2' });
    expect(bed.states(secret)).toEqual(['ENABLED', 'ENABLED']);
  });

  it('changes nothing when the encryption key of the newest version is disabled', async () => {
    const { secret } = bed.seed({ isWatched: false });
    bed.secretManager.addVersion(secret.name, bed.momento.issueKey().consoleJson);
    bed.secretManager.setKeyState(secret.name, '2', 'DISABLED');
    const instance = bed.instance([secret], { policy: { destroyAfterMs: 0 } });
    const { result } = await instance.rotate();
    expect(result.error).toMatchObject({ code: 'VERSION_UNREADABLE', step: 'inspect' });
    expect(result.error?.message).toContain("Applications can't read the secret.");
    expect(bed.timesCalled('RefreshApiToken')).toBe(0);
    expect(bed.states(secret)).toEqual(['ENABLED', 'ENABLED']);
    const { status } = await instance.status();
    expect(status).toMatchObject({ state: 'UNREADABLE', error: { code: 'VERSION_UNREADABLE' } });
  });

  it('requests a delayed destruction once', async () => {
    const { secret } = bed.seed({ versionDestroyTtlMs: DAY });
    const setup = { policy: { ...NOT_DUE, destroyAfterMs: 0 } };
    await bed.rotate(secret, setup, { force: true });
    expect((await bed.rotate(secret, setup)).result.destroyed).toEqual(['1']);
    expect((await bed.rotate(secret, setup)).result.destroyed).toBeUndefined();
    bed.clock.advance(2 * DAY);
    expect(bed.states(secret)).toEqual(['DESTROYED', 'ENABLED']);
  });
});

describe('a run rotates', () => {
  // The last column is how often the method is called in the end.
  it.each<[string, number, string, number]>([
    ['AccessSecretVersion', 1, 'corrupt', 3],
    ['RefreshApiToken', 1, 'drop after', 2],
    ['RefreshKey', 1, 'drop before', 2],
    ['DisableSecretVersion', 1, 'UNAVAILABLE after', 2],
  ])('when %s, call %d, has the fault %s', async (method, nth, fault, calls) => {
    const { secret, expectRenewed } = seed(method);
    // Only a reusable token survives a lost answer.
    if (`${method} ${fault}` === 'RefreshApiToken drop after') {
      bed.momento.refreshTokens = 'reusable';
    }
    bed.inject(method, nth, fault);
    const { result, status } = await bed.rotate(secret);
    expect(result).toMatchObject({ outcome: 'rotated', verified: true, version: '2' });
    expect(status).toBe(200);
    expect(bed.timesCalled(method)).toBe(calls);
    expect(bed.states(secret)).toEqual(['DISABLED', 'ENABLED']);
    expectRenewed();
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
    ['RefreshApiToken', 'hang before', 'MOMENTO_UNAVAILABLE', 'issue', 503],
    ['RefreshApiToken', 'PERMISSION_DENIED before', 'REFRESH_REFUSED', 'issue', 502],
    ['RefreshKey', '429 before', 'MOMENTO_LIMIT_EXCEEDED', 'issue', 429],
    ['RefreshKey', '405 before', 'REFRESH_PATH_UNKNOWN', 'issue', 502],
    ['AddSecretVersion', 'UNAVAILABLE before', 'CREDENTIAL_NOT_STORED', 'add', 503],
  ])('when %s always fails with %s: %s', async (method, fault, code, step, httpStatus) => {
    const { secret, expectRenewed } = seed(method);
    const instance = bed.instance([secret]);
    bed.inject(method, 'every', fault);
    const deadline = bed.clock.monotonic() + 3 * MINUTE;
    const { result, status, durationMs } = await instance.rotate({ deadline });
    expect(result).toMatchObject({ outcome: 'failed', error: { code, step } });
    expect(result.error?.message).toMatch(/applications|Applications/);
    expect(status).toBe(httpStatus);
    expect(durationMs).toBeLessThanOrEqual(3 * MINUTE);
    expect(bed.states(secret)).toEqual(['ENABLED']);

    bed.endFaults();
    const { result: next } = await instance.rotate();
    expect(next).toMatchObject({ outcome: 'rotated', version: '2', disabled: ['1'] });
    expectRenewed();
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

it.each([
  ['RefreshApiToken', 'drop after'],
  ['RefreshKey', 'half'],
])('a run fails with REFRESH_ANSWER_LOST when %s has the fault %s', async (method, fault) => {
  const { secret } = seed(method);
  bed.inject(method, 1, fault);
  const { result, status } = await bed.rotate(secret);
  expect([result.error?.code, status]).toEqual(['REFRESH_ANSWER_LOST', 502]);
  const until = isoTime(START + 30 * DAY);
  const impact = `Applications can use the current key until ${until}.`;
  expect(result.error?.message).toContain(impact);
  expect(bed.states(secret)).toEqual(['ENABLED']);
  // The token is used. With a management key the next run recovers.
  expect((await bed.rotate(secret)).result.error?.code).toBe('REFRESH_REFUSED');
  const setup = { managementKey: bed.managementKey() };
  const { outcome } = (await bed.rotate({ ...secret, ...TERMS }, setup)).result;
  expect(outcome).toBe('rotated');
});

describe('a refresh of a v2 key', () => {
  it.each([
    ['apiJson', 'api_key', 'refresh_token'],
    ['consoleJson', 'apiKey', 'refreshToken'],
  ] as const)('keeps the format when it is %s', async (format, key, token) => {
    const secret = bed.seedV2({}, {}, format);
    const [old, before] = [bed.keyOf(secret), bed.latest(secret)];
    const { result } = await bed.rotate(secret);
    const fresh = bed.keyOf(secret);
    const rotated = { outcome: 'rotated', issuedBy: 'refresh', verified: true, disabled: ['1'] };
    expect(result).toMatchObject({ ...rotated, keyId: fresh.info.key_id });
    const after = bed.latest(secret);
    expect(Object.keys(after)).toEqual(Object.keys(before));
    expect(after).toMatchObject({ [key]: fresh.apiKey, [token]: fresh.refreshToken });
    expect(fresh.info).toMatchObject({ role_id: old.info.role_id });
    // The rotator revokes only keys that it minted.
    expect(bed.momento.account.isLive(old)).toBe(true);
  });

  it('uses the path in MOMENTO_REFRESH_PATH', async () => {
    const refreshPath = (bed.keyApi.refreshPath = '/elsewhere/refresh');
    expect((await bed.rotate(bed.seedV2(), { refreshPath })).result.outcome).toBe('rotated');
  });
});

describe('a mint', () => {
  it.each([
    ['apiJson', ['api_key', 'key_info']],
    ['consoleJson', ['apiKey', 'restEndpoint', 'validUntil']],
    ['apiKey', undefined],
  ] as const)(
    'stores a key without a refresh token when the format is %s',
    async (format, names) => {
      const secret = bed.seedV2(TERMS, { role: 'r-operator' }, format);
      const { refreshToken = '' } = bed.keyOf(secret);
      const { result } = await bed.rotate(secret, { managementKey: bed.managementKey() });
      const { info, apiKey } = bed.keyOf(secret);
      const rotated = { outcome: 'rotated', issuedBy: 'mint', verified: true, disabled: ['1'] };
      const expiresAt = isoTime(bed.clock.now() + TERMS.lifetimeMs);
      expect(result).toMatchObject({ ...rotated, keyId: info.key_id, expiresAt });
      const description = `momento-key-rotator ${secret.name}`;
      expect(info).toMatchObject({ role_id: TERMS.role, description });
      if (names === undefined) expect(bed.payload(secret)).toBe(apiKey);
      else expect(Object.keys(bed.latest(secret)).toSorted()).toEqual(names);
      // The refresh token of the old key isn't used.
      expect(bed.momento.account.refreshable(refreshToken)).toBeInstanceOf(Object);
    },
  );

  it.each(['json', 'key'] as const)(
    'stores the first key of an empty secret as %s',
    async (payload) => {
      const secret = bed.emptySecret({ ...TERMS, payload });
      const { result } = await bed.rotate(secret, { managementKey: bed.managementKey() });
      expect(result).toMatchObject({ outcome: 'rotated', version: '1', issuedBy: 'mint' });
      const { apiKey, info } = bed.keyOf(secret);
      if (payload === 'key') expect(bed.payload(secret)).toBe(apiKey);
      else expect(bed.latest(secret)).toEqual({ api_key: apiKey, key_info: info });
    },
  );

  it.each(['drop after', 'half'])(
    'is repeated when its answer is lost (%s), and the orphaned key is revoked after an hour',
    async (fault) => {
      const setup = { managementKey: bed.managementKey(), policy: REVOKE };
      bed.inject('CreateKey', 1, fault);
      const secret = bed.seedV2(TERMS);
      expect((await bed.rotate(secret, setup)).result.outcome).toBe('rotated');
      expect(bed.liveKeys(secret)).toHaveLength(2);
      bed.clock.advance(HOUR + MINUTE);
      bed.inject('RevokeKey', 1, 'drop after');
      expect((await bed.rotate(secret, setup)).result.revoked).toHaveLength(2);
      expect(bed.liveKeys(secret)).toEqual([bed.keyOf(secret).info.key_id]);
    },
  );

  it("of 16 keys doesn't delay v1 secrets when Momento always answers 429", async () => {
    bed.inject('CreateKey', 'every', '429 before');
    const minted = Array.from({ length: 16 }, () => bed.emptySecret(TERMS));
    const refreshed = [bed.seed().secret, bed.seed().secret];
    const setup = { managementKey: bed.managementKey() };
    const results = await bed.instance([...minted, ...refreshed], setup).request();
    const codes = results.map(({ result }) => result.error?.code ?? result.outcome);
    expect(codes).toEqual([
      ...minted.map(() => 'MOMENTO_LIMIT_EXCEEDED'),
      ...refreshed.map(() => 'rotated'),
    ]);
    const durations = results.slice(-2).map(({ durationMs }) => durationMs);
    expect(Math.max(...durations)).toBeLessThan(10 * SECOND);
    expect(results[0]?.result.error?.message).toContain('The account has 1 v2 keys.');
  });

  it('of 12 keys lists keys once, and stays below the rate limit of the account', async () => {
    bed.keyApi.callsPerSecond = 5;
    const secrets = Array.from({ length: 12 }, () => bed.seedV2(TERMS, {}, 'apiKey'));
    const setup = { managementKey: bed.managementKey(), policy: REVOKE };
    const results = await bed.instance(secrets, setup).request();
    expect(results.map(({ result }) => result.outcome)).toEqual(secrets.map(() => 'rotated'));
    expect(bed.timesCalled('CreateKey')).toBe(secrets.length);
    const pages = bed.keyApi.faults.calls.filter(
      ({ method, request }) =>
        method === 'ListKeys' && (request as HttpRequest).query.get('limit') === '100',
    );
    expect(pages).toHaveLength(1);
  });

  it('renews the management key together with others, and revokes it when no process uses it any more', async () => {
    const itself = bed.emptySecret({ role: 'r-operator', lifetimeMs: TERMS.lifetimeMs });
    const description = `momento-key-rotator ${itself.name}`;
    bed.addVersion(itself, bed.momento.issueV2Key({ role: 'r-operator', description }).apiJson);
    const old = bed.keyOf(itself);
    const secrets = [itself, bed.seedV2(TERMS), bed.emptySecret(TERMS)];
    const request = async () => {
      bed.clock.advance(2 * HOUR);
      const setup = { managementKey: itself, policy: REVOKE };
      const results = await bed.instance(secrets, setup).request();
      expect(results.map(({ result }) => result.outcome)).toEqual(secrets.map(() => 'rotated'));
      return results[0]?.result.revoked;
    };
    await request();
    // Processes that read it before might still use it.
    expect(bed.momento.account.isLive(old)).toBe(true);
    expect(await request()).toContain(old.info.key_id);
    await request();
    expect(bed.liveKeys(itself)).toHaveLength(2);
  });
});
