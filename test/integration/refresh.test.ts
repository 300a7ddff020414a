/** Refreshes of v2 keys over HTTP. */
import { gzipSync } from 'node:zlib';
import { isoTime, MINUTE } from '../../src/duration';
import { ENDPOINT } from '../../emulators/account';
import type { Rewrite } from '../../emulators/faults';
import { NOT_DUE, TestBed } from './test-bed';

let bed: TestBed;

beforeEach(async () => {
  bed = await TestBed.start();
});
afterEach(async () => {
  await bed.stop();
  bed.expectSafe();
});

describe('a v2 key', () => {
  it.each([
    ['apiJson', 'api_key', 'refresh_token'],
    ['consoleJson', 'apiKey', 'refreshToken'],
  ] as const)('is refreshed over HTTP when it is stored as %s', async (format, key, token) => {
    const secret = bed.seedV2({}, {}, format);
    const [old, before] = [bed.keyOf(secret), bed.latest(secret)];
    const { result } = await bed.rotate(secret);
    const fresh = bed.keyOf(secret);
    expect(result).toMatchObject({
      outcome: 'rotated',
      issuedBy: 'refresh',
      verified: true,
      keyId: fresh.info.key_id,
      disabled: ['1'],
    });
    const after = bed.latest(secret);
    expect(Object.keys(after)).toEqual(Object.keys(before));
    expect(after).toMatchObject({ [key]: fresh.apiKey, [token]: fresh.refreshToken });
    if (format === 'apiJson') expect(after.key_info).toEqual(fresh.info);
    expect(fresh.info).toMatchObject({ role_id: old.info.role_id, description: 'of an operator' });
    // The rotator revokes only keys that it minted.
    expect(result.revoked).toBeUndefined();
    expect(bed.momento.account.isLive(old)).toBe(true);
  });

  it.each([
    ['the key API', 'no host is known', 'apiJson', {}, [1, 0]],
    ['Momento', 'the payload names the host', 'consoleJson', {}, [0, 1]],
    ['Momento', 'MOMENTO_ENDPOINT names the host', 'apiJson', { endpoint: ENDPOINT }, [0, 1]],
  ] as const)('is verified by %s when %s', async (_, _when, format, setup, [lists, caches]) => {
    // The host knows a new key after some rejections.
    bed.keyApi.newKeyRejections = 3;
    const { result } = await bed.rotate(bed.seedV2({}, {}, format), setup);
    expect(result).toMatchObject({ outcome: 'rotated', verified: true });
    expect(bed.timesCalled('ListKeys')).toBe(lists * 4);
    expect(bed.timesCalled('ListCaches')).toBe(caches * 4);
  });
});

describe('a usable key is stored', () => {
  const changed =
    (change: (fields: Record<string, unknown>) => object): Rewrite =>
    (body) => ({ body: JSON.stringify(change(JSON.parse(body) as Record<string, unknown>)) });

  it.each<[string, Rewrite, string | undefined]>([
    ['compressed with gzip', (body) => encoded('gzip', gzipSync(body)), undefined],
    ['with a byte order mark', (body) => ({ body: `\uFEFF${body}` }), undefined],
    ['with unknown fields', changed((all) => ({ ...all, more: 'x'.repeat(100_000) })), undefined],
    [
      'without a refresh token',
      changed((all) => ({ ...all, refresh_token: undefined })),
      'without a refresh token',
    ],
  ])('when the answer is %s', async (_, rewrite, warning) => {
    bed.inject('RefreshKey', 1, { kind: 'rewrite', rewrite });
    const secret = bed.seedV2();
    const { result } = await bed.rotate(secret);
    expect(result).toMatchObject({ outcome: 'rotated', version: '2', disabled: ['1'] });
    expect(result.keyId).toBe(bed.keyOf(secret).info.key_id);
    expect(result.warnings).toEqual(
      warning === undefined ? undefined : [expect.stringContaining(warning) as string],
    );
    expect(bed.timesCalled('RefreshKey')).toBe(1);
    const { error } = (await bed.rotate(secret, { policy: NOT_DUE })).result;
    expect(error?.code).toBe(
      warning === 'without a refresh token' ? 'KEY_NOT_REFRESHABLE' : undefined,
    );
  });

  function encoded(encoding: string, body: Buffer): ReturnType<Rewrite> {
    // The clock doesn't see that zlib works.
    bed.when('before ListKeys', bed.clock.hold());
    return { headers: { 'content-encoding': encoding }, body };
  }
});

describe('a refresh', () => {
  it.each(['corrupt', 'not-json'])(
    "isn't repeated when the answer can't be used (%s): ISSUED_CREDENTIAL_INVALID",
    async (fault) => {
      bed.inject('RefreshKey', 1, fault);
      const { result } = await bed.rotate(bed.seedV2());
      expect(result.error).toMatchObject({ code: 'ISSUED_CREDENTIAL_INVALID', retryable: false });
      expect(bed.timesCalled('RefreshKey')).toBe(1);
    },
  );

  it.each(['drop after', '302 after', 'half', 'upgrade after'])(
    'is repeated when its answer is lost (%s), and fails with REFRESH_ANSWER_LOST',
    async (fault) => {
      bed.inject('RefreshKey', 1, fault);
      const secret = bed.seedV2();
      const { result } = await bed.rotate(secret);
      expect(result).toMatchObject({ outcome: 'failed', error: { code: 'REFRESH_ANSWER_LOST' } });
      const until = isoTime((bed.keyOf(secret).info.expires_at_epoch_seconds ?? 0) * 1000);
      expect(result.error?.message).toContain(
        `Applications can use the current key until ${until}.`,
      );
      expect(bed.timesCalled('RefreshKey')).toBe(2);
      // The next run has the used token only. With a management key it recovers.
      expect((await bed.rotate(secret)).result.error?.code).toBe('REFRESH_REFUSED');
      const managementKey = bed.managementKey();
      expect((await bed.rotate(secret, { managementKey })).result.outcome).toBe('rotated');
    },
  );

  it.each(['hang before', 'upgrade before'])(
    'is repeated for a limited time when every call has the fault %s: MOMENTO_UNAVAILABLE',
    async (fault) => {
      bed.inject('RefreshKey', 'every', fault);
      const secret = bed.seedV2();
      const instance = bed.instance([secret]);
      const { result, durationMs } = await instance.rotate();
      expect(result.error).toMatchObject({ code: 'MOMENTO_UNAVAILABLE', retryable: true });
      expect(durationMs).toBeLessThan(3 * MINUTE);
      expect(bed.timesCalled('RefreshKey')).toBeGreaterThan(3);
      bed.endFaults();
      expect((await instance.rotate()).result.outcome).toBe('rotated');
    },
  );

  it('keeps its token when the account is at its limit of keys: MOMENTO_LIMIT_EXCEEDED', async () => {
    const secret = bed.seedV2();
    const { refreshToken = '' } = bed.keyOf(secret);
    bed.keyApi.maxKeys = 1;
    const { result, status } = await bed.rotate(secret);
    expect(status).toBe(429);
    expect(result.error).toMatchObject({ code: 'MOMENTO_LIMIT_EXCEEDED', retryable: true });
    expect(result.error?.message).toContain('it has reached its limit of API keys');
    expect(bed.momento.account.refreshable(refreshToken)).toBeInstanceOf(Object);
    bed.keyApi.maxKeys = 2;
    expect((await bed.rotate(secret)).result.outcome).toBe('rotated');
  });

  it('is refused with the possible causes when the token was used by somebody else', async () => {
    const secret = bed.seedV2();
    const { refreshToken = '' } = bed.keyOf(secret);
    const lag = { ms: 0, rejections: 0 };
    bed.momento.account.refresh(refreshToken, bed.clock.now() / 1000 + 3600, lag);
    const { error } = (await bed.rotate(secret)).result;
    expect(error).toMatchObject({ code: 'REFRESH_REFUSED', retryable: false });
    expect(error?.message).toMatch(/\(HTTP 403\).*already used, or the account is locked/);
    expect(error?.message).toContain('Applications can use the current key until');
  });

  it('uses the path in MOMENTO_REFRESH_PATH', async () => {
    bed.keyApi.refreshPath = '/elsewhere/refresh';
    const setup = { refreshPath: '/elsewhere/refresh' };
    expect((await bed.rotate(bed.seedV2(), setup)).result.outcome).toBe('rotated');
  });

  it("keeps its token when the path doesn't exist: REFRESH_PATH_UNKNOWN", async () => {
    const refreshPath = '/nowhere';
    const secret = bed.seedV2();
    const { refreshToken = '' } = bed.keyOf(secret);
    const { error } = (await bed.rotate(secret, { refreshPath })).result;
    expect(error).toMatchObject({ code: 'REFRESH_PATH_UNKNOWN', retryable: false });
    expect(error?.message).toContain('MOMENTO_REFRESH_PATH');
    expect(bed.called.filter((method) => method.startsWith('POST '))).toHaveLength(1);
    expect(bed.momento.account.refreshable(refreshToken)).toBeInstanceOf(Object);
  });

  it('ends as superseded when another process was first', async () => {
    const secret = bed.seedV2();
    const runs = await Promise.all([bed.rotate(secret), bed.rotate(secret)]);
    expect(runs.map(({ result }) => result.outcome).toSorted()).toEqual(['rotated', 'superseded']);
    expect(bed.timesCalled('AddSecretVersion')).toBe(1);
  });
});
