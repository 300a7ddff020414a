/** Keys that are minted with a management key, and revoked when no version contains them. */
import { DAY, HOUR, isoTime, MINUTE, SECOND } from '../../src/duration';
import type { RenewalPolicy } from '../../src/rotation/policy';
import type { Secret } from '../../src/rotation/ports';
import type { RotationResult } from '../../src/rotation/result';
import type { SecretName } from '../../src/secret-name';
import type { HttpRequest } from '../../emulators/http-host';
import { NOT_DUE, parseFault, REVOKE, TERMS, TestBed } from './test-bed';

let bed: TestBed;
let managementKey: SecretName;

beforeEach(async () => {
  bed = await TestBed.start();
  managementKey = bed.managementKey();
});
afterEach(async () => {
  await bed.stop();
  bed.expectSafe();
});

async function run(secret: Secret, policy: Partial<RenewalPolicy> = {}): Promise<RotationResult> {
  return (await bed.rotate(secret, { managementKey, policy })).result;
}

function lifetimeOf(secret: Secret): number {
  const { expires_at_epoch_seconds: end = Infinity, issued_at_epoch_seconds: start } =
    bed.keyOf(secret).info;
  return (end - start) * SECOND;
}

describe('a key is minted', () => {
  it.each([
    ['apiJson', ['api_key', 'key_info']],
    ['consoleJson', ['apiKey', 'restEndpoint', 'validUntil']],
    ['apiKey', undefined],
  ] as const)('and stored without a refresh token when the format is %s', async (format, names) => {
    const secret = bed.seedV2(TERMS, { role: 'r-operator' }, format);
    const { refreshToken = '' } = bed.keyOf(secret);
    const result = await run(secret);
    const { info, apiKey } = bed.keyOf(secret);
    expect(result).toMatchObject({
      outcome: 'rotated',
      issuedBy: 'mint',
      keyId: info.key_id,
      verified: true,
      expiresAt: isoTime(bed.clock.now() + TERMS.lifetimeMs),
      disabled: ['1'],
    });
    expect(info).toMatchObject({
      role_id: TERMS.role,
      description: `momento-key-rotator ${secret.name}`,
    });
    expect(lifetimeOf(secret)).toBe(TERMS.lifetimeMs);
    if (names === undefined) expect(bed.payload(secret)).toBe(apiKey);
    else expect(Object.keys(bed.latest(secret)).toSorted()).toEqual(names);
    expect(bed.momento.account.refreshable(refreshToken)).toBeInstanceOf(Object);
  });

  it.each(['json', 'key'] as const)('as the first of an empty secret, as %s', async (payload) => {
    const secret = bed.emptySecret({ ...TERMS, payload });
    const result = await run(secret);
    expect(result).toMatchObject({ outcome: 'rotated', version: '1', issuedBy: 'mint' });
    expect(result.previousVersion).toBeUndefined();
    const { apiKey, info } = bed.keyOf(secret);
    if (payload === 'key') expect(bed.payload(secret)).toBe(apiKey);
    else expect(bed.latest(secret)).toEqual({ api_key: apiKey, key_info: info });
  });
});

describe('a newest key that Momento rejects', () => {
  it('is replaced when its secret is minted, though it is not due', async () => {
    const secret = bed.seedV2(TERMS);
    bed.unwatch(secret);
    bed.momento.account.revoke(bed.keyOf(secret).info.key_id, 'operator');
    expect(await run(secret, NOT_DUE)).toMatchObject({
      outcome: 'failed',
      error: {
        code: 'NEWEST_KEY_REJECTED',
        message: expect.stringContaining('it is younger than an hour') as string,
      },
    });
    bed.clock.advance(HOUR);
    expect(await run(secret, NOT_DUE)).toMatchObject({
      outcome: 'rotated',
      reason: 'Momento rejects the newest key',
    });
  });

  it("stays when Momento's list contains it as valid, because the host is wrong", async () => {
    const secret = bed.seedV2(TERMS);
    bed.clock.advance(2 * HOUR);
    bed.inject('ListCaches', 'every', 'UNAUTHENTICATED before');
    const setup = { managementKey, policy: NOT_DUE, endpoint: 'wrong.invalid' };
    const { result } = await bed.rotate(secret, setup);
    expect(result).toMatchObject({ outcome: 'failed', error: { code: 'NEWEST_KEY_REJECTED' } });
    expect(result.error?.message).toMatch(
      /the account's list shows it as valid, so .+ is probably the wrong host/,
    );
    expect(bed.timesCalled('CreateKey')).toBe(0);
    // A rotation that is due can't verify the new key there. It is added, and nothing is disabled.
    const { result: forced } = await bed.rotate(secret, setup, { force: true });
    expect(forced).toMatchObject({ outcome: 'incomplete', error: { code: 'VERIFY_INCONCLUSIVE' } });
    expect(bed.states(secret)).toEqual(['ENABLED', 'ENABLED']);
  });
});

describe('a mint', () => {
  it.each(['drop after', 'half', 'upgrade after'])(
    'is repeated when its answer is lost (%s), and the orphaned key is revoked after an hour',
    async (fault) => {
      bed.inject('CreateKey', 1, fault);
      const secret = bed.seedV2(TERMS);
      expect((await run(secret, REVOKE)).outcome).toBe('rotated');
      expect(bed.liveKeys(secret)).toHaveLength(2);
      bed.clock.advance(HOUR + MINUTE);
      expect((await run(secret, REVOKE)).revoked).toHaveLength(2);
      expect(bed.liveKeys(secret)).toEqual([bed.keyOf(secret).info.key_id]);
    },
  );

  it.each([
    ['drop after', 4, 'MOMENTO_UNAVAILABLE'],
    ['corrupt', 1, 'ISSUED_CREDENTIAL_INVALID'],
  ])(
    'ends when every answer is lost (%s), after %d attempts: %s',
    async (fault, attempts, code) => {
      bed.inject('CreateKey', 'every', fault);
      expect((await run(bed.seedV2(TERMS))).error?.code).toBe(code);
      expect(bed.timesCalled('CreateKey')).toBe(attempts);
    },
  );

  it("of 64 keys doesn't delay v1 secrets when Momento always answers 429", async () => {
    bed.inject('CreateKey', 'every', '429 before');
    const minted = Array.from({ length: 64 }, () => bed.emptySecret(TERMS));
    const refreshed = [bed.seed().secret, bed.seed().secret];
    const start = bed.clock.monotonic();
    const addedAfter: number[] = [];
    bed.intercept(({ method }, at) => {
      if (`${at} ${method}` !== 'after AddSecretVersion') return;
      addedAfter.push(bed.clock.monotonic() - start);
    });
    const instance = bed.instance([...minted, ...refreshed], { managementKey });
    const results = await instance.request();
    const codes = results.map(({ result }) => result.error?.code ?? result.outcome);
    expect(codes).toEqual([
      ...minted.map(() => 'MOMENTO_LIMIT_EXCEEDED'),
      ...refreshed.map(() => 'rotated'),
    ]);
    expect(addedAfter).toHaveLength(2);
    expect(Math.max(...addedAfter)).toBeLessThan(10 * SECOND);
    expect(results[0]?.result.error?.message).toContain('The account has 1 v2 keys.');
  });
});

test('minted keys are revoked by later runs when the outcome of their add is unknown', async () => {
  const secret = bed.seedV2(TERMS);
  bed.inject('AddSecretVersion', 'every', 'UNAVAILABLE before');
  const instance = bed.instance([secret], { managementKey, policy: REVOKE });
  for (let day = 0; day < 3; day += 1) {
    const deadline = bed.clock.monotonic() + 2 * MINUTE;
    const { result } = await instance.rotate({ deadline });
    expect(result.error?.code).toBe('SECRET_MANAGER_UNAVAILABLE');
    expect(bed.liveKeys(secret)).toHaveLength(1);
    bed.clock.advance(DAY);
  }
});

describe('a minted key is revoked', () => {
  /** A secret whose first key is old enough to be revoked. */
  async function seedMinted(): Promise<Secret> {
    const secret = bed.emptySecret({ ...TERMS, payload: 'key' });
    await run(secret);
    bed.watch(secret);
    bed.clock.advance(2 * HOUR);
    return secret;
  }

  it('once, when the answer to its revocation is lost', async () => {
    const secret = await seedMinted();
    bed.inject('RevokeKey', 1, 'drop after');
    expect((await run(secret, REVOKE)).revoked).toHaveLength(1);
  });

  it('in no dry run, which returns it in the plan, and after GET counted it', async () => {
    const secret = bed.seedV2(TERMS);
    const orphan = bed.mintedKey(secret).info.key_id;
    const instance = bed.instance([secret], { managementKey, policy: REVOKE });
    expect((await instance.rotate({ dryRun: true })).result).toMatchObject({
      outcome: 'dry_run',
      issuedBy: 'mint',
      disabled: ['1'],
      revoked: [orphan],
    });
    const counts = { renewedBy: 'mint', liveKeys: 1, orphanedKeys: 1 };
    expect((await instance.status()).status).toMatchObject(counts);
    expect(bed.liveKeys(secret)).toEqual([orphan]);
    expect((await instance.rotate()).result.revoked).toEqual([orphan]);
  });

  it('not when somebody stores it again before the revocation is retried', async () => {
    const secret = await seedMinted();
    const old = bed.payload(secret);
    await run(secret, { ...REVOKE, gracePeriodMs: DAY });
    bed.secretManager.setState(secret.name, '1', 'DISABLED');
    bed.inject('RevokeKey', 1, { kind: 'status', status: 429, retryAfter: '20', when: 'before' });
    bed.when('before RevokeKey', () => bed.addVersion(secret, old));
    const result = await run(secret, { ...REVOKE, ...NOT_DUE });
    expect(result.revoked).toBeUndefined();
    expect(result.warnings).toEqual([expect.stringContaining('version 3 was just added')]);
    expect(bed.timesCalled('RevokeKey')).toBe(1);
    expect(bed.momento.accepts(old)).toBe(true);
  });
});

describe('the management key', () => {
  it('renews itself together with others, and is revoked when no process can use it any more', async () => {
    const configured = { role: 'r-operator', lifetimeMs: 30 * DAY };
    const itself = bed.seedV2(configured, {
      role: 'r-operator',
      description: `momento-key-rotator ${bed.newName().name}`.replace(
        /\d+$/,
        (n) => `${Number(n) + 1}`,
      ),
    });
    const old = bed.keyOf(itself);
    const secrets = [itself, bed.seedV2(TERMS), bed.emptySecret(TERMS)];
    const setup = { managementKey: itself, policy: REVOKE };
    const request = async (): Promise<RotationResult> => {
      const results = await bed.instance(secrets, setup).request();
      expect(results.map(({ result }) => result.outcome)).toEqual(secrets.map(() => 'rotated'));
      bed.clock.advance(2 * HOUR);
      return results[0]?.result ?? Promise.reject(new Error('no result'));
    };
    bed.clock.advance(2 * HOUR);
    await request();
    // Processes that read it before might still use it.
    expect(bed.momento.account.isLive(old)).toBe(true);
    expect((await request()).revoked).toContain(old.info.key_id);
    await request();
    expect(bed.liveKeys(itself)).toHaveLength(2);
  });

  it("stays when its successor couldn't manage keys, which is revoked", async () => {
    const secret = bed.seedV2({ ...TERMS, role: 'r-viewer' }, { role: 'r-operator' });
    const before = bed.payload(secret);
    const { result } = await bed.rotate(secret, { managementKey: secret });
    expect(result).toMatchObject({ outcome: 'failed', error: { code: 'NEW_KEY_REJECTED' } });
    expect(bed.payload(secret) === before).toBe(true);
    expect(bed.liveKeys(secret)).toEqual([]);
  });

  it("doesn't delay secrets that are refreshed when its secret has no quota", async () => {
    bed.secretManager.faults.intercept = ({ request }) =>
      (request as { name?: string }).name?.startsWith(`${managementKey.name}/`) === true
        ? parseFault('RESOURCE_EXHAUSTED before')
        : undefined;
    const secrets = [bed.seed({ parent: 'projects/q' }).secret, bed.emptySecret(TERMS)];
    const [refreshed, minted] = await bed.instance(secrets, { managementKey }).request();
    expect(refreshed).toMatchObject({ result: { outcome: 'rotated' } });
    expect(refreshed?.durationMs).toBeLessThan(10 * SECOND);
    expect(minted?.result.error?.code).toBe('SECRET_MANAGER_QUOTA_EXCEEDED');
    expect(minted?.durationMs).toBeLessThan(3 * MINUTE);
  });
});

test('many secrets share one list of keys, and stay below the rate limit, when Momento limits the rate', async () => {
  bed.keyApi.callsPerSecond = 5;
  const secrets = Array.from({ length: 12 }, () => bed.seedV2(TERMS, {}, 'apiKey'));
  const results = await bed.instance(secrets, { managementKey, policy: REVOKE }).request();
  expect(results.map(({ result }) => result.outcome)).toEqual(secrets.map(() => 'rotated'));
  expect(bed.timesCalled('CreateKey')).toBe(secrets.length);
  const pages = bed.keyApi.faults.calls.filter(
    ({ method, request }) =>
      method === 'ListKeys' && (request as HttpRequest).query.get('limit') === '100',
  );
  expect(pages).toHaveLength(1);
});
