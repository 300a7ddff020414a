import { Credential } from '../../src/credential';
import { RotationError, type ErrorCode } from '../../src/errors';
import type { RenewalPolicy, Version } from '../../src/renewal';
import {
  permissionMissing,
  type Issuer,
  type Permission,
  type SecretStore,
  type Verdict,
} from '../../src/ports';
import { daysLeft, type RunOptions } from '../../src/rotation';
import { Rotator } from '../../src/rotator';
import {
  DAY,
  fakeClock,
  HOUR,
  inTurn,
  NOW,
  payloadOf,
  SECOND,
  secretName,
  v1Key,
  version,
} from './support';

const SECRET = secretName('projects/p/secrets/s');
const OTHER = secretName('projects/p/secrets/other');
const EXPIRES_AT = '2026-11-11T00:00:00.000Z';
const NEW_EXPIRES_AT = '2026-12-01T00:00:00.000Z';
const NEVER_DUE: Partial<RenewalPolicy> = { renewBefore: { ms: HOUR } };

const UNAVAILABLE = error('SECRET_MANAGER_UNAVAILABLE');
const QUOTA = error('SECRET_MANAGER_QUOTA_EXCEEDED');
const REFUSED = error('REFRESH_REFUSED');
const LOST = error('MOMENTO_UNAVAILABLE');

function error(code: ErrorCode): RotationError {
  return new RotationError(code, `test: ${code}.`);
}

function credential(number: number): Credential {
  return Credential.parse(payloadOf(number));
}

/** What Momento issues for the key of a version. */
function successor(of: Credential, name = 'new'): Credential {
  return of.renewed({
    apiKey: v1Key(name),
    refreshToken: `refresh-${name}`,
    expiresAt: Date.parse(NEW_EXPIRES_AT),
    endpoint: 'cell-1.example.com',
  });
}

interface SetUp {
  /** By default version 4 is the newest, and 3 was retired. */
  versions?: Version[];
  store?: Partial<SecretStore>;
  issuer?: Partial<Issuer>;
  policy?: Partial<RenewalPolicy>;
  verify?: boolean;
}

/** A rotator on ports that answer as planned; `calls` is what it asked of them, in order. */
function setUp({ versions = [version(3, 'DISABLED'), version(4)], ...plan }: SetUp = {}) {
  const clock = fakeClock();
  const calls: string[] = [];
  const added: Buffer[] = [];
  const store: SecretStore = {
    access: (secret, number) => {
      calls.push(`access ${number}`);
      if (plan.store?.access) return plan.store.access(secret, number);
      const newest = Math.max(...versions.map((listed) => listed.number));
      const wanted = versions.find((listed) => listed.number === (Number(number) || newest));
      return Promise.resolve(
        wanted?.state === 'ENABLED'
          ? { number: wanted.number, payload: payloadOf(wanted.number) }
          : undefined,
      );
    },
    list: (secret) => {
      calls.push('list');
      return plan.store?.list?.(secret) ?? Promise.resolve([...versions]);
    },
    missingPermissions: (secret, permissions) => {
      calls.push('permissions');
      return plan.store?.missingPermissions?.(secret, permissions) ?? Promise.resolve([]);
    },
    add: (secret, payload) => {
      calls.push('add');
      added.push(Buffer.from(payload));
      return (
        plan.store?.add?.(secret, payload) ?? Promise.resolve(version(5, 'ENABLED', clock.now()))
      );
    },
    disable: (secret, listed) => {
      calls.push(`disable ${listed.number}`);
      return plan.store?.disable?.(secret, listed) ?? Promise.resolve(true);
    },
    destroy: (secret, listed) => {
      calls.push(`destroy ${listed.number}`);
      return plan.store?.destroy?.(secret, listed) ?? Promise.resolve(true);
    },
  };
  const issuer: Issuer = {
    check: (current) => plan.issuer?.check?.(current),
    issue: (current) => {
      calls.push(`issue from ${current.refreshToken?.slice(4, 5) ?? ''}`);
      return plan.issuer?.issue?.(current) ?? Promise.resolve(successor(current));
    },
    verify: (current) => {
      calls.push(`verify ${current.refreshToken?.startsWith('refresh-') ? 'new' : 'newest'}`);
      return plan.issuer?.verify?.(current) ?? Promise.resolve('accepted');
    },
  };
  const policy = { gracePeriodMs: 0, ...plan.policy };
  const rotator = new Rotator({ store, issuer, policy, verify: plan.verify ?? true, clock });
  const start = (options: Partial<RunOptions> = {}, secret = SECRET) =>
    rotator.rotate(secret, {
      force: false,
      dryRun: false,
      deadline: clock.now() + 525 * SECOND,
      ...options,
    });
  const run = async (options: Partial<RunOptions> = {}) => {
    const startedWith = calls.length;
    const { report } = await start(options);
    return { ...report, calls: calls.slice(startedWith) };
  };
  return { clock, calls, added, versions, rotator, start, run };
}

const GATHER = ['access latest', 'list', 'permissions'];

/** The calls of a run that change something or spend a refresh token. */
function effects(calls: readonly string[]): string[] {
  return calls.filter((call) => /^(issue|add|disable|destroy)/.test(call));
}

describe('a rotation', () => {
  test('issues, verifies, adds and retires, in this order', async () => {
    const { start, calls, added } = setUp();
    const { report, joined } = await start();
    expect(joined).toBe(false);
    expect(report).toEqual({
      result: {
        secret: SECRET.name,
        outcome: 'rotated',
        reason: 'every run rotates',
        version: '5',
        previousVersion: '4',
        expiresAt: NEW_EXPIRES_AT,
        verified: true,
        disabled: ['4'],
      },
      status: 200,
      keyFingerprint: successor(credential(4)).fingerprint,
      keyAgeDays: 0,
      durationMs: 0,
      steps: { gather: 0, issue: 0, verify: 0, add: 0, retire: 0 },
    });
    expect(calls).toEqual([...GATHER, 'issue from 4', 'verify new', 'list', 'add', 'disable 4']);
    expect(added).toEqual([successor(credential(4)).serialize()]);
  });

  test('tells how long it and each of its steps took', async () => {
    const plan = setUp({
      store: { list: inTurn<Version[]>(UNAVAILABLE, [version(4)]), add: takes(800, version(5)) },
      issuer: { issue: (from) => takes(700, successor(from))() },
    });
    function takes<T>(ms: number, value: T): () => Promise<T> {
      return () => plan.clock.sleep(ms).then(() => value);
    }
    const { steps, durationMs } = await plan.run();
    expect(steps).toEqual({ gather: 200, issue: 700, verify: 0, add: 800, retire: 0 });
    expect(durationMs).toBe(1700);
  });

  test.each([
    [{}, ['access', 'list', 'add', 'disable']],
    [{ destroyAfterMs: DAY }, ['access', 'list', 'add', 'disable', 'destroy']],
  ])('asks for the permissions that %j needs', async (policy, names) => {
    const asked: Permission[] = [];
    const missingPermissions = (_: unknown, permissions: readonly Permission[]) => {
      asked.push(...permissions);
      return Promise.resolve([]);
    };
    await setUp({ policy, store: { missingPermissions } }).run();
    expect(asked).toEqual(names.map((name) => `secretmanager.versions.${name}`));
  });
});

describe('what is found out first', () => {
  const lacks = (...permissions: Permission[]): Partial<SecretStore> => ({
    missingPermissions: inTurn(permissions),
  });
  const all: Permission[] = (['access', 'list', 'add', 'disable'] as const).map(
    (name): Permission => `secretmanager.versions.${name}`,
  );
  const nothing = inTurn(undefined);

  test.each<[string, SetUp, ErrorCode, number]>([
    [
      'a missing permission',
      { store: lacks('secretmanager.versions.disable') },
      'PERMISSION_MISSING',
      403,
    ],
    [
      'a missing permission, rather than the call that needed it',
      { store: { ...lacks(...all), access: inTurn<never>(error('SECRET_MANAGER_REFUSED')) } },
      'PERMISSION_MISSING',
      403,
    ],
    [
      'no such secret, of which the permissions are all missing',
      {
        store: {
          ...lacks(...all),
          access: nothing,
          list: inTurn<never>(error('SECRET_NOT_FOUND')),
        },
      },
      'SECRET_NOT_FOUND',
      404,
    ],
    ['no version', { versions: [], store: { access: nothing } }, 'NO_VERSION', 409],
    [
      'no enabled version',
      { versions: [version(1, 'DESTROYED'), version(2, 'DISABLED')] },
      'NO_ENABLED_VERSION',
      409,
    ],
    [
      'a payload that is no credential',
      { store: { access: inTurn({ number: 4, payload: Buffer.from('{}') }) } },
      'PAYLOAD_INVALID',
      422,
    ],
    [
      'a corrupt payload',
      { store: { access: inTurn<never>(error('PAYLOAD_CORRUPT')) } },
      'PAYLOAD_CORRUPT',
      502,
    ],
    [
      'a key that cannot be refreshed',
      {
        issuer: {
          check: () => {
            throw error('KEY_NOT_REFRESHABLE');
          },
        },
      },
      'KEY_NOT_REFRESHABLE',
      422,
    ],
    [
      'no list',
      { store: { list: inTurn<never>(error('CREDENTIALS_UNAVAILABLE')) } },
      'CREDENTIALS_UNAVAILABLE',
      500,
    ],
    [
      'no answer about the permissions',
      { store: { missingPermissions: inTurn<never>(UNAVAILABLE) } },
      'SECRET_MANAGER_UNAVAILABLE',
      503,
    ],
    ['no quota', { store: { list: inTurn<never>(QUOTA) } }, 'SECRET_MANAGER_QUOTA_EXCEEDED', 429],
    ['a fault', { store: { list: inTurn<never>(new TypeError('planted')) } }, 'INTERNAL', 500],
  ])('%s: nothing is spent', async (_name, plan, code, status) => {
    const { result, calls, ...report } = await setUp(plan).run();
    expect(report.status).toBe(status);
    expect(result).toMatchObject({ outcome: 'failed', error: { code, step: 'gather' } });
    expect(result.error?.retryable).toBe(error(code).retryable);
    expect(effects(calls)).toEqual([]);
    expect(calls.filter((call) => call.startsWith('verify'))).toEqual([]);
    expect(report.cause).toEqual(code === 'INTERNAL' ? new TypeError('planted') : undefined);
  });

  test('a key that never expires has no expiry to tell of', async () => {
    const payload = Buffer.from(JSON.stringify({ apiKey: v1Key('forever') }));
    const { run, rotator } = setUp({
      store: { access: inTurn({ number: 4, payload }) },
      issuer: {
        check: ({ expiresAt, refreshToken }) => {
          expect([expiresAt, refreshToken]).toEqual([Infinity, undefined]);
          throw error('KEY_NOT_REFRESHABLE');
        },
      },
    });
    const { result, status } = await run();
    expect(status).toBe(422);
    expect(result.error?.code).toBe('KEY_NOT_REFRESHABLE');
    expect(result).not.toHaveProperty('expiresAt');
    expect(await rotator.status(SECRET)).toMatchObject({
      httpStatus: 422,
      status: { error: { code: 'KEY_NOT_REFRESHABLE' } },
    });
  });

  test('a missing permission is named, with the role that has it', () => {
    const { message } = permissionMissing(SECRET, [
      'secretmanager.versions.access',
      'secretmanager.versions.add',
      'secretmanager.versions.destroy',
    ]);
    expect(message).toContain(
      'lacks secretmanager.versions.access, secretmanager.versions.add, secretmanager.versions.destroy on ' +
        'projects/p/secrets/s',
    );
    expect(message).toContain(
      'Grant it roles/secretmanager.secretAccessor and roles/secretmanager.secretVersionManager on',
    );
  });

  test('a call that fails for a passing reason is made again', async () => {
    const passing = inTurn<Version[]>(UNAVAILABLE, UNAVAILABLE, [version(4)]);
    const { result } = await setUp({ store: { list: passing } }).run();
    expect(result.outcome).toBe('rotated');
  });

  test('it is made again for 30 seconds, but for a quota as long as the run may last', async () => {
    const { durationMs } = await setUp({ store: { list: inTurn<never>(UNAVAILABLE) } }).run();
    expect(durationMs).toBeGreaterThan(25 * SECOND);
    expect(durationMs).toBeLessThanOrEqual(30 * SECOND);

    const full = inTurn<Version[]>(...Array<Error>(16).fill(QUOTA), [version(4)]);
    const waited = await setUp({ store: { list: full } }).run();
    expect(waited.durationMs).toBeGreaterThan(60 * SECOND);
    expect(waited.result.outcome).toBe('rotated');

    const shut = await setUp({ store: { list: inTurn<never>(QUOTA) } }).run();
    expect(shut.durationMs).toBeGreaterThan(515 * SECOND);
    expect(shut.durationMs).toBeLessThanOrEqual(525 * SECOND);
  });

  test.each(['DISABLED', 'DESTROYED'] as const)(
    'a %s newest version is healed by one issued from the newest enabled',
    async (state) => {
      const versions = [version(2), version(3), version(4, state)];
      const { result, calls } = await setUp({ versions, policy: NEVER_DUE }).run();
      expect(result).toMatchObject({
        outcome: 'rotated',
        reason: `version 4 is the newest but ${state.toLowerCase()}, so readers of latest fail`,
        version: '5',
        previousVersion: '3',
        disabled: ['2', '3'],
      });
      expect(result.warnings).toHaveLength(1);
      expect(result.warnings?.[0]).toContain(
        `version 4 is the newest but ${state.toLowerCase()}: readers of latest fail`,
      );
      expect(calls.slice(0, 5)).toEqual([...GATHER, 'access 3', 'issue from 3']);
    },
  );

  test('a version that no list shows yet is the newest when latest gives it', async () => {
    const { run } = setUp({
      store: {
        access: inTurn({ number: 5, payload: payloadOf(5) }),
        add: inTurn(version(6, 'ENABLED', NOW)),
      },
    });
    const { result, calls } = await run();
    // Without its etag, version 5 is left to the next run.
    expect(result).toMatchObject({ version: '6', previousVersion: '5', disabled: ['4'] });
    expect(calls).toContain('issue from 5');
    expect(result).not.toHaveProperty('warnings');
  });

  test('nothing is retired for a newest version that no list shows yet', async () => {
    const access = inTurn({ number: 5, payload: payloadOf(5) });
    const { result, calls } = await setUp({ store: { access }, policy: NEVER_DUE }).run();
    expect(result).toMatchObject({ outcome: 'not_due', version: '5' });
    expect(calls).toEqual(GATHER);
  });

  test('a secret that is deleted and made anew meanwhile keeps the version that was added', async () => {
    const add = inTurn(version(1, 'ENABLED', NOW));
    const { result, calls } = await setUp({ store: { add } }).run();
    expect(result).toMatchObject({ outcome: 'rotated', version: '1' });
    expect(result.warnings?.[0]).toContain('made anew');
    expect(calls.filter((call) => /disable|destroy/.test(call))).toEqual([]);
  });

  test('such a version was created just now: a run for an earlier time is already done', async () => {
    const { run } = setUp({
      versions: [version(4, 'DISABLED')],
      store: { access: inTurn({ number: 5, payload: payloadOf(5) }) },
    });
    const { result, calls } = await run({ scheduledAt: NOW - SECOND });
    expect(result).toMatchObject({ outcome: 'already_rotated', version: '5' });
    expect(calls).toEqual(GATHER);
  });

  test('a version is enabled if latest gives it, whatever the list says', async () => {
    const { run } = setUp({
      versions: [version(4, 'DISABLED')],
      store: { access: inTurn({ number: 4, payload: payloadOf(4) }) },
    });
    const { result } = await run();
    expect(result).toMatchObject({ outcome: 'rotated', previousVersion: '4', disabled: ['4'] });
    expect(result).not.toHaveProperty('warnings');
  });

  test('when latest lags behind the list, the newest of the list counts', async () => {
    const access: SecretStore['access'] = (_, number) => {
      const accessed = number === 'latest' ? 3 : number;
      return Promise.resolve({ number: accessed, payload: payloadOf(accessed) });
    };
    const { run } = setUp({ versions: [version(3), version(4)], store: { access } });
    const { result, calls } = await run();
    expect(calls.slice(0, 5)).toEqual([...GATHER, 'access 4', 'issue from 4']);
    expect(result).toMatchObject({ previousVersion: '4', disabled: ['3', '4'] });
  });

  test('a version that the list takes for enabled, and that does not open, is not', async () => {
    const access: SecretStore['access'] = (_, number) =>
      Promise.resolve(number === 3 ? { number: 3, payload: payloadOf(3) } : undefined);
    const { run } = setUp({ versions: [version(3), version(4)], store: { access } });
    const { result, calls } = await run();
    expect(calls.slice(0, 6)).toEqual([...GATHER, 'access 4', 'access 3', 'issue from 3']);
    expect(result.reason).toContain('version 4 is the newest but disabled');
    expect(result.disabled).toEqual(['3']);
  });

  test('if none opens, there is no enabled version', async () => {
    const { result, calls } = await setUp({
      versions: [version(3), version(4)],
      store: { access: inTurn(undefined) },
    }).run();
    expect(calls).toEqual([...GATHER, 'access 4', 'access 3']);
    expect(result).toMatchObject({ version: '4', error: { code: 'NO_ENABLED_VERSION' } });
  });
});

describe('issuing', () => {
  const expired = inTurn({ number: 4, payload: payloadOf(4, (NOW - DAY) / SECOND) });

  test('is tried again after a failure that passes', async () => {
    const issue = inTurn<Credential>(
      LOST,
      error('MOMENTO_LIMIT_EXCEEDED'),
      successor(credential(4)),
    );
    const { result, calls } = await setUp({ issuer: { issue } }).run();
    expect(result.outcome).toBe('rotated');
    expect(effects(calls)).toEqual([...Array<string>(3).fill('issue from 4'), 'add', 'disable 4']);
  });

  test.each<[ErrorCode, number]>([
    ['MOMENTO_UNAVAILABLE', 503],
    ['MOMENTO_LIMIT_EXCEEDED', 429],
    ['ISSUED_CREDENTIAL_INVALID', 502],
  ])('%s is given up after 90 seconds', async (code, status) => {
    const report = await setUp({ issuer: { issue: inTurn<never>(error(code)) } }).run();
    expect(report.status).toBe(status);
    expect(report.result).toMatchObject({
      outcome: 'failed',
      version: '4',
      expiresAt: EXPIRES_AT,
      error: { code, step: 'issue', retryable: true },
    });
    expect(report.durationMs).toBeGreaterThan(85 * SECOND);
    expect(report.durationMs).toBeLessThanOrEqual(90 * SECOND);
    expect(report.keyFingerprint).toBe(credential(4).fingerprint);
  });

  test('leaves 90 seconds for a last try and for storing its answer', async () => {
    const { run } = setUp({ issuer: { issue: inTurn<never>(LOST) } });
    const { durationMs, result } = await run({ deadline: NOW + 120 * SECOND });
    expect(durationMs).toBeLessThanOrEqual(30 * SECOND);
    expect(result.error?.code).toBe('MOMENTO_UNAVAILABLE');
  });

  test('a refusal is final: it says who has to do what, and by when', async () => {
    const { result, status, calls } = await setUp({
      issuer: { issue: inTurn<never>(REFUSED) },
    }).run();
    expect(status).toBe(502);
    expect(result).toMatchObject({
      outcome: 'failed',
      error: { code: 'REFRESH_REFUSED', step: 'issue', retryable: false },
    });
    expect(result.error?.message).toMatch(/^test: REFRESH_REFUSED\. /);
    expect(result.error?.message).toContain(`expires at ${EXPIRES_AT}`);
    expect(result.error?.message).toContain(
      'create a new API key with a refresh token in the Momento console and store it as a new version of ' +
        SECRET.name,
    );
    expect(effects(calls)).toEqual(['issue from 4']);
  });

  test.each<[ErrorCode, ErrorCode]>([
    ['MOMENTO_UNAVAILABLE', 'REFRESH_ANSWER_LOST'],
    ['ISSUED_CREDENTIAL_INVALID', 'REFRESH_ANSWER_LOST'],
    ['MOMENTO_LIMIT_EXCEEDED', 'REFRESH_REFUSED'],
  ])('a refusal after %s is %s', async (first, code) => {
    const issue = inTurn<never>(error(first), REFUSED);
    const { result, status } = await setUp({ issuer: { issue } }).run();
    expect(status).toBe(502);
    expect(result.error).toMatchObject({ code, retryable: false });
    expect(result.error?.message).toContain(EXPIRES_AT);
  });

  test('a refusal of an expired key says that readers are refused, too', async () => {
    const issue = inTurn<never>(LOST, REFUSED);
    const { result, status } = await setUp({ store: { access: expired }, issuer: { issue } }).run();
    expect(status).toBe(422);
    expect(result.error?.code).toBe('KEY_EXPIRED');
    expect(result.error?.message).toContain('expired at 2026-10-31T00:00:00.000Z');
    expect(result.error?.message).toContain('now.');
  });

  test('an expired key is tried: Momento decides', async () => {
    const { result } = await setUp({ store: { access: expired }, policy: NEVER_DUE }).run();
    expect(result.outcome).toBe('rotated');
  });

  test.each([
    ['at once', 1],
    ['some seconds later', 5],
  ])('a refusal is no failure when a version by somebody else shows %s', async (_name, after) => {
    const old = [version(4)];
    const lists = [...Array<Version[]>(after).fill(old), [version(4), version(5)]];
    const { result, status, calls } = await setUp({
      store: { list: inTurn(...lists) },
      issuer: { issue: inTurn<never>(REFUSED) },
    }).run();
    expect(status).toBe(200);
    expect(result).toEqual({
      secret: SECRET.name,
      outcome: 'superseded',
      reason: 'version 5 was added by somebody else meanwhile',
      version: '5',
    });
    expect(effects(calls)).toEqual(['issue from 4']);
  });

  test.each<ErrorCode>(['SECRET_MANAGER_UNAVAILABLE', 'SECRET_MANAGER_REFUSED'])(
    'a refusal stays one when %s keeps from seeing whether a version was added',
    async (code) => {
      const { result } = await setUp({
        store: { list: inTurn<Version[]>([version(4)], error(code)) },
        issuer: { issue: inTurn<never>(REFUSED) },
      }).run();
      expect(result.error?.code).toBe('REFRESH_REFUSED');
      expect(result.warnings).toEqual([
        `could not see whether a version was added meanwhile (${code})`,
      ]);
    },
  );

  test('an unforeseen error is INTERNAL, and only the log gets its cause', async () => {
    const cause = new TypeError('planted');
    const report = await setUp({ issuer: { issue: inTurn<never>(cause) } }).run();
    expect(report).toMatchObject({ status: 500, cause });
    expect(report.result.error).toMatchObject({ code: 'INTERNAL', step: 'issue' });
    expect(JSON.stringify(report.result)).not.toContain('planted');
  });

  test.each([
    ['begun', 90 * SECOND, 0, 'rotated', undefined],
    ['not begun', 90 * SECOND - 1, 0, 'failed', 'gather'],
    ['begun after a look that took its time', 100 * SECOND, 10 * SECOND, 'rotated', undefined],
    ['not begun after a look that took too long', 100 * SECOND, 10_001, 'failed', 'issue'],
  ])('is %s with %d ms to the deadline', async (_name, left, look, outcome, step) => {
    const plan = setUp({
      store: { list: () => plan.clock.sleep(look).then(() => [version(4)]) },
      verify: false,
    });
    const { result, status, calls } = await plan.run({ deadline: NOW + left });
    expect(result.outcome).toBe(outcome);
    if (step === undefined) return;
    expect(status).toBe(504);
    expect(result.error).toMatchObject({ code: 'DEADLINE_EXCEEDED', step, retryable: true });
    expect(effects(calls)).toEqual([]);
  });
});

describe('verifying', () => {
  test('asks again while a new key may not have spread', async () => {
    const verify = inTurn<Verdict>(...Array<Verdict>(5).fill('rejected'), 'accepted');
    const { result, durationMs } = await setUp({ issuer: { verify } }).run();
    expect(result).toMatchObject({ outcome: 'rotated', verified: true, disabled: ['4'] });
    expect(durationMs).toBe(5750);
  });

  test('a key that stays rejected is not added; the next run tries it once more', async () => {
    const answers: Verdict[] = ['rejected'];
    const { run } = setUp({ issuer: { verify: () => inTurn(...answers)() }, policy: NEVER_DUE });
    const first = await run({ force: true });
    expect(first.status).toBe(502);
    expect(first.result).toMatchObject({
      outcome: 'failed',
      version: '4',
      expiresAt: EXPIRES_AT,
      verified: false,
      error: { code: 'NEW_KEY_REJECTED', step: 'verify', retryable: false },
    });
    expect(first.result.error?.message).toContain(EXPIRES_AT);
    expect(first.result.error?.message).toContain('its next run asks about it again');
    expect(first.durationMs).toBeGreaterThan(5 * SECOND);
    expect(first.durationMs).toBeLessThanOrEqual(10 * SECOND);
    expect(effects(first.calls)).toEqual(['issue from 4']);

    answers[0] = 'accepted';
    const second = await run();
    expect(second.calls).toEqual([
      ...GATHER,
      'verify new', // before another key is issued
      'verify new',
      'list',
      'add',
      'disable 4',
    ]);
    expect(second.result).toMatchObject({
      outcome: 'rotated',
      reason: 'an earlier run issued a key that is not stored yet',
      verified: true,
    });

    const third = await run();
    expect(third.result.outcome).toBe('not_due');
  });

  test('rejected in that run, too, it is replaced by another one', async () => {
    const { run, added } = setUp({
      issuer: {
        verify: (current) =>
          Promise.resolve(
            current.fingerprint === successor(credential(4), 'second').fingerprint
              ? 'accepted'
              : 'rejected',
          ),
        issue: inTurn(successor(credential(4), 'first'), successor(credential(4), 'second')),
      },
    });
    expect((await run()).result.error?.code).toBe('NEW_KEY_REJECTED');
    expect((await run()).result.outcome).toBe('rotated');
    expect(added).toEqual([successor(credential(4), 'second').serialize()]);
  });

  test('a key that stays rejected is kept while no other can be issued', async () => {
    const verdicts: Verdict[] = ['rejected'];
    const { run, added } = setUp({
      issuer: {
        verify: () => inTurn(...verdicts)(),
        issue: inTurn<Credential>(successor(credential(4)), REFUSED),
      },
    });
    expect((await run()).result.error?.code).toBe('NEW_KEY_REJECTED');
    expect((await run()).result.error?.code).toBe('NEW_KEY_REJECTED');
    verdicts[0] = 'accepted';
    expect((await run()).result.outcome).toBe('rotated');
    expect(added).toEqual([successor(credential(4)).serialize()]);
  });

  test.each<[string, Partial<Issuer>]>([
    ['Momento gives no clear answer', { verify: inTurn<Verdict>('unclear') }],
    ['the check itself fails', { verify: inTurn<never>(new Error('planted')) }],
  ])('when %s, the key is added and nothing is retired', async (_name, issuer) => {
    const versions = [version(2, 'DISABLED'), version(3), version(4)];
    const { run } = setUp({ versions, issuer, policy: { destroyAfterMs: 0 } });
    const { result, status, calls, durationMs } = await run();
    expect(status).toBe(503);
    expect(result).toMatchObject({
      outcome: 'incomplete',
      version: '5',
      verified: false,
      warnings: ['Momento gave no clear answer about the new key; it was added unproved'],
      error: { code: 'VERIFY_INCONCLUSIVE', step: 'verify', retryable: true },
    });
    expect(effects(calls)).toEqual(['issue from 4', 'add']);
    expect(durationMs).toBeGreaterThan(3 * SECOND);
    expect(durationMs).toBeLessThanOrEqual(5 * SECOND);
  });

  test('with nothing to retire, an unclear answer is but a warning', async () => {
    const { result, status } = await setUp({
      issuer: { verify: inTurn<Verdict>('unclear') },
      policy: { gracePeriodMs: DAY },
    }).run();
    expect(status).toBe(200);
    expect(result).toMatchObject({ outcome: 'rotated', verified: false });
    expect(result.warnings).toHaveLength(1);
  });

  test('asks again for a clear answer', async () => {
    const verify = inTurn<Verdict>('unclear', 'unclear', 'accepted');
    const { result } = await setUp({ issuer: { verify } }).run();
    expect(result).toMatchObject({ outcome: 'rotated', verified: true, disabled: ['4'] });
    expect(result).not.toHaveProperty('warnings');
  });

  test('finds a version that somebody else added: theirs stands, ours is dropped', async () => {
    const theirs = version(5, 'ENABLED', NOW - HOUR);
    const list = inTurn([version(4)], [version(4), theirs]);
    const { run, versions } = setUp({ store: { list }, policy: NEVER_DUE });
    const { result, status, keyFingerprint, calls } = await run({ force: true });
    expect(status).toBe(200);
    expect(keyFingerprint).toBeUndefined();
    expect(result).toEqual({
      secret: SECRET.name,
      outcome: 'superseded',
      reason: 'version 5 was added by somebody else meanwhile',
      version: '5',
    });
    expect(effects(calls)).toEqual(['issue from 4']);

    versions.push(theirs);
    const next = await run();
    expect(next.result).toMatchObject({ outcome: 'not_due', version: '5' });
    expect(next.result).not.toHaveProperty('warnings');
  });

  test('a rejected key is superseded, too', async () => {
    const { result } = await setUp({
      store: { list: inTurn([version(4)], [version(4), version(5)]) },
      issuer: { verify: inTurn<Verdict>('rejected') },
    }).run();
    expect(result.outcome).toBe('superseded');
  });

  test.each([
    ['cannot be listed', inTurn<Version[]>([version(4)], UNAVAILABLE), 1],
    ['vanish from the list', inTurn<Version[]>([version(4)], []), 0],
  ])('goes on when the versions %s: nothing may be lost', async (_name, list, warnings) => {
    const { result, calls, durationMs } = await setUp({ store: { list } }).run();
    expect(result).toMatchObject({ outcome: 'rotated', disabled: ['4'] });
    expect(result.warnings ?? []).toHaveLength(warnings);
    expect(calls).toContain('add');
    expect(durationMs).toBeLessThanOrEqual(30 * SECOND);
  });

  test('leaves 30 seconds to store the key, also when Secret Manager has no quota', async () => {
    const { result, durationMs } = await setUp({
      store: { list: inTurn<Version[]>([version(4)], QUOTA) },
    }).run();
    expect(result).toMatchObject({ outcome: 'rotated', version: '5' });
    expect(durationMs).toBeLessThanOrEqual(495 * SECOND);
  });

  test('is left out with VERIFY=false, and then holds nothing up', async () => {
    const { result, calls } = await setUp({ verify: false }).run();
    expect(calls).toEqual([...GATHER, 'issue from 4', 'list', 'add', 'disable 4']);
    expect(result).toMatchObject({ outcome: 'rotated', disabled: ['4'] });
    expect(result).not.toHaveProperty('verified');
    expect(result).not.toHaveProperty('warnings');
  });
});

describe('adding', () => {
  test('is tried again until it succeeds', async () => {
    const add = inTurn<Version>(UNAVAILABLE, QUOTA, UNAVAILABLE, version(7, 'ENABLED', NOW));
    const { result, calls } = await setUp({ store: { add } }).run();
    expect(result).toMatchObject({ outcome: 'rotated', version: '7', previousVersion: '4' });
    expect(calls.filter((call) => call === 'add')).toHaveLength(4);
    expect(calls).not.toContain('access 4');
  });

  test.each([
    ['whose answer was lost', UNAVAILABLE],
    ['that the quota was said not to allow', QUOTA],
  ])('takes a version as added that a try has stored %s', async (_name, error) => {
    const { run, added } = setUp({
      store: {
        access: (_, number) =>
          Promise.resolve(
            number === 5
              ? { number, payload: added[0] ?? payloadOf(5) }
              : { number: 4, payload: payloadOf(4) },
          ),
        list: inTurn([version(4)], [version(4)], [version(4), version(5, 'ENABLED', NOW)]),
        add: inTurn<Version>(error),
      },
    });
    const { result } = await run();
    expect(added).toHaveLength(1);
    expect(result).toMatchObject({ outcome: 'rotated', version: '5', disabled: ['4'] });
  });

  test("adds once more when the newer version is somebody else's", async () => {
    const { run, added } = setUp({
      store: {
        access: (_, number) =>
          Promise.resolve({ number: number === 5 ? 5 : 4, payload: payloadOf(4) }),
        list: inTurn([version(4)], [version(4)], [version(4), version(5)]),
        add: inTurn<Version>(UNAVAILABLE, version(6, 'ENABLED', NOW)),
      },
    });
    expect((await run()).result).toMatchObject({ outcome: 'rotated', version: '6' });
    expect(added).toHaveLength(2);
  });

  test.each<[string, SetUp['store'] & object]>([
    [
      'is not enabled any more',
      { access: inTurn({ number: 4, payload: payloadOf(4) }, undefined) },
    ],
    ['cannot be looked at', { list: inTurn<Version[]>([version(4)], [version(4)], UNAVAILABLE) }],
  ])('adds once more when the newer version %s', async (_name, store) => {
    const { run, added } = setUp({
      store: {
        list: inTurn([version(4)], [version(4)], [version(4), version(5)]),
        add: inTurn<Version>(UNAVAILABLE, version(6, 'ENABLED', NOW)),
        ...store,
      },
    });
    expect((await run()).result).toMatchObject({ outcome: 'rotated', version: '6' });
    expect(added).toHaveLength(2);
  });

  test('is tried until 30 s before the deadline, and then the next run stores the key first', async () => {
    const answers: (Version | Error)[] = [UNAVAILABLE];
    const { run, added } = setUp({
      store: { add: () => inTurn(...answers)() },
      policy: NEVER_DUE,
    });
    const first = await run({ force: true });
    expect(first.status).toBe(503);
    expect(first.result).toMatchObject({
      outcome: 'failed',
      version: '4',
      expiresAt: EXPIRES_AT,
      error: { code: 'CREDENTIAL_NOT_STORED', step: 'add', retryable: true },
    });
    expect(first.result.error?.message).toContain('test: SECRET_MANAGER_UNAVAILABLE');
    expect(first.durationMs).toBeGreaterThan(489 * SECOND);
    expect(first.durationMs).toBeLessThanOrEqual(495 * SECOND);
    expect(first.keyFingerprint).toBe(credential(4).fingerprint);

    const preview = await run({ dryRun: true });
    expect(preview.result.reason).toBe(
      'would rotate: an earlier run issued a key that is not stored yet',
    );

    answers[0] = version(5, 'ENABLED', NOW + HOUR);
    const second = await run({ scheduledAt: NOW - 30 * DAY });
    expect(second.calls).toEqual([
      ...GATHER,
      'verify new', // before another key is issued
      'verify new',
      'list',
      'add',
      'disable 4',
    ]);
    expect(second.result).toMatchObject({ outcome: 'rotated', version: '5', previousVersion: '4' });
    expect(new Set(added.map(String)).size).toBe(1);
  });

  test('a key that was kept is stored unproved with VERIFY=false', async () => {
    const add = inTurn<Version>(error('SECRET_MANAGER_REFUSED'), version(5, 'ENABLED', NOW));
    const { run } = setUp({ store: { add }, verify: false });
    await run();
    expect((await run()).calls).toEqual([...GATHER, 'list', 'add', 'disable 4']);
  });

  test('a key that was to heal the secret is kept, too', async () => {
    const add = inTurn<Version>(error('SECRET_MANAGER_REFUSED'), version(5, 'ENABLED', NOW));
    const { run } = setUp({ versions: [version(3), version(4, 'DISABLED')], store: { add } });
    const { result } = await run();
    expect(result.error?.code).toBe('CREDENTIAL_NOT_STORED');
    const next = await run();
    expect(next.calls).not.toContain('issue from 3');
    expect(next.result).toMatchObject({ version: '5', previousVersion: '3', disabled: ['3'] });
  });

  test('is given up at once when it is refused', async () => {
    const { run } = setUp({ store: { add: inTurn<never>(error('SECRET_MANAGER_REFUSED')) } });
    const { result, calls } = await run();
    expect(calls.filter((call) => call === 'add')).toHaveLength(1);
    expect(result.error).toMatchObject({ code: 'CREDENTIAL_NOT_STORED', retryable: true });
    expect(result.error?.message).toContain('test: SECRET_MANAGER_REFUSED');
  });

  test('a key that was kept is dropped when somebody added a version', async () => {
    const add = inTurn<Version>(error('SECRET_MANAGER_REFUSED'), version(6, 'ENABLED', NOW));
    const { run, versions } = setUp({ store: { add } });
    await run();
    versions.push(version(5));

    const preview = await run({ dryRun: true });
    expect(preview.result.reason).toBe('would rotate: every run rotates');
    expect(preview.result).not.toHaveProperty('warnings');

    const { result, calls } = await run();
    expect(calls).toContain('issue from 5');
    expect(result.warnings).toEqual([
      'a key that an earlier run could not store was dropped, because version 5 was added since',
    ]);
    expect((await run()).result).not.toHaveProperty('warnings');
  });

  test('without a word when the key had been stored, and only the answer was lost', async () => {
    const { run, versions, added } = setUp({
      store: {
        add: inTurn<never>(error('SECRET_MANAGER_REFUSED')),
        access: (_, number) =>
          Promise.resolve({ number: versions.length + 2, payload: added[0] ?? payloadOf(4) }).then(
            (latest) => (number === 'latest' ? latest : undefined),
          ),
      },
      policy: NEVER_DUE,
    });
    await run({ force: true });
    versions.push(version(5, 'ENABLED', NOW));
    const { result, calls } = await run();
    expect(result).toMatchObject({ outcome: 'not_due', version: '5', disabled: ['4'] });
    expect(result).not.toHaveProperty('warnings');
    expect(effects(calls)).toEqual(['disable 4']);
  });
});

describe('retiring and destroying', () => {
  const versions = () => [version(1, 'DISABLED'), version(2), version(3, 'DISABLED'), version(4)];

  test('what is due', async () => {
    const { run } = setUp({ versions: versions(), policy: { destroyAfterMs: 0 } });
    const { result, steps, calls } = await run();
    expect(result).toMatchObject({ disabled: ['2', '4'], destroyed: ['1', '3'] });
    expect(calls.slice(-4)).toEqual(['disable 2', 'disable 4', 'destroy 1', 'destroy 3']);
    expect(steps).toHaveProperty('destroy', 0);
  });

  test('nothing within the grace period, and nothing that is not old enough', async () => {
    const policy = { gracePeriodMs: 7 * DAY, destroyAfterMs: 7 * DAY };
    const { result, calls } = await setUp({ versions: versions(), policy }).run();
    expect(effects(calls)).toEqual(['issue from 4', 'add', 'destroy 1']);
    expect(result).not.toHaveProperty('disabled');
    expect(result.destroyed).toEqual(['1']);
  });

  test('a version that changed during the run is left as it is', async () => {
    const { result, status } = await setUp({
      versions: versions(),
      store: { disable: (_, { number }) => Promise.resolve(number !== 2) },
    }).run();
    expect(status).toBe(200);
    expect(result).toMatchObject({ outcome: 'rotated', disabled: ['4'] });
    expect(result.warnings).toEqual([
      expect.stringMatching(/^version 2 changed during the run .*the next run looks again$/),
    ]);
  });

  test('sends what was listed, so that the etag can be compared', async () => {
    const seen: Version[] = [];
    const disable = (_: unknown, listed: Version) => Promise.resolve(seen.push(listed) > 0);
    await setUp({ store: { disable } }).run();
    expect(seen).toEqual([version(4)]);
  });

  test('a failure that passes is tried again', async () => {
    const disable = inTurn<boolean>(UNAVAILABLE, UNAVAILABLE, true);
    const { result } = await setUp({ store: { disable } }).run();
    expect(result).toMatchObject({ outcome: 'rotated', disabled: ['4'] });
  });

  const fails = (code: ErrorCode, number: number) => (_: unknown, listed: Version) =>
    listed.number === number ? Promise.reject(error(code)) : Promise.resolve(true);

  test.each<[string, Partial<SecretStore>, object]>([
    [
      'disable',
      { disable: fails('SECRET_MANAGER_REFUSED', 2) },
      {
        disabled: ['4'],
        destroyed: ['1', '3'],
        error: { code: 'SECRET_MANAGER_REFUSED', step: 'retire', retryable: false },
      },
    ],
    [
      'destroy',
      { destroy: fails('PERMISSION_MISSING', 1) },
      {
        disabled: ['2', '4'],
        destroyed: ['3'],
        error: { code: 'PERMISSION_MISSING', step: 'destroy', retryable: false },
      },
    ],
    [
      'both',
      {
        disable: fails('SECRET_MANAGER_UNAVAILABLE', 4),
        destroy: fails('SECRET_MANAGER_REFUSED', 3),
      },
      {
        disabled: ['2'],
        destroyed: ['1'],
        error: { code: 'SECRET_MANAGER_UNAVAILABLE', step: 'retire', retryable: true },
      },
    ],
  ])('the run is incomplete when %s fails; the others are done', async (_name, store, expected) => {
    const { run } = setUp({ versions: versions(), store, policy: { destroyAfterMs: 0 } });
    const { result, status } = await run();
    expect(status).toBe(503);
    expect(result).toMatchObject({ outcome: 'incomplete', version: '5', ...expected });
  });
});

describe('a run that issues nothing', () => {
  const leftOver = () => [version(1, 'DISABLED'), version(2), version(3), version(4)];
  const policy = { ...NEVER_DUE, destroyAfterMs: 0 };

  test('does nothing when nothing is left to do', async () => {
    const { result, status, calls } = await setUp({ policy: NEVER_DUE }).run();
    expect(status).toBe(200);
    expect(result).toEqual({
      secret: SECRET.name,
      outcome: 'not_due',
      reason: 'due at 2026-11-10T23:00:00.000Z',
      version: '4',
      expiresAt: EXPIRES_AT,
    });
    expect(calls).toEqual(GATHER);
  });

  test.each([
    ['not_due', {}],
    ['already_rotated', { scheduledAt: NOW - 6 * DAY }],
  ])(
    'is %s and goes on where an earlier one ended, with the newest key proved',
    async (outcome, options) => {
      const { result, status, calls } = await setUp({ versions: leftOver(), policy }).run(options);
      expect(status).toBe(200);
      expect(calls).toEqual([...GATHER, 'verify newest', 'disable 2', 'disable 3', 'destroy 1']);
      expect(result).toMatchObject({
        outcome,
        version: '4',
        verified: true,
        disabled: ['2', '3'],
        destroyed: ['1'],
      });
    },
  );

  test('proves the newest key also when there is only something to destroy', async () => {
    const versions = [version(3, 'DISABLED'), version(4)];
    const { calls } = await setUp({ versions, policy }).run();
    expect(calls).toEqual([...GATHER, 'verify newest', 'destroy 3']);
  });

  test('retires nothing when the newest key is rejected', async () => {
    const { run } = setUp({
      versions: leftOver(),
      policy,
      issuer: { verify: inTurn<Verdict>('rejected') },
    });
    const { result, status, calls, durationMs } = await run();
    expect(status).toBe(409);
    expect(result).toMatchObject({
      outcome: 'failed',
      verified: false,
      error: { code: 'NEWEST_KEY_REJECTED', step: 'verify', retryable: false },
    });
    expect(result.error?.message).toContain('version 4');
    expect(effects(calls)).toEqual([]);
    expect(durationMs).toBe(0);
  });

  test('asks again about a newest key that may not have spread', async () => {
    const { result } = await setUp({
      versions: [version(3), version(4, 'ENABLED', NOW - SECOND)],
      policy,
      issuer: { verify: inTurn<Verdict>('rejected', 'accepted') },
    }).run();
    expect(result).toMatchObject({ outcome: 'not_due', disabled: ['3'] });
  });

  test('retires nothing without a clear answer', async () => {
    const { result, status, calls } = await setUp({
      versions: leftOver(),
      policy,
      issuer: { verify: inTurn<Verdict>('unclear') },
    }).run();
    expect(status).toBe(503);
    expect(result).toMatchObject({
      outcome: 'incomplete',
      verified: false,
      error: { code: 'VERIFY_INCONCLUSIVE', step: 'verify' },
    });
    expect(effects(calls)).toEqual([]);
  });

  test('retires without asking with VERIFY=false', async () => {
    const { result, calls } = await setUp({ versions: leftOver(), policy, verify: false }).run();
    expect(calls).toEqual([...GATHER, 'disable 2', 'disable 3', 'destroy 1']);
    expect(result).not.toHaveProperty('verified');
  });
});

describe('a dry run', () => {
  const versions = () => [version(1, 'DISABLED'), version(2), version(3), version(4)];

  test.each<[string, SetUp, object]>([
    [
      'would rotate',
      { policy: { destroyAfterMs: 0 } },
      {
        reason: 'would rotate: every run rotates',
        disabled: ['2', '3', '4'],
        destroyed: ['1'],
      },
    ],
    [
      'would not',
      { policy: NEVER_DUE },
      {
        reason: 'would not rotate: due at 2026-11-10T23:00:00.000Z',
        disabled: ['2', '3'],
        destroyed: [],
      },
    ],
  ])('says that it %s, and neither writes nor calls Momento', async (_name, plan, expected) => {
    const { run } = setUp({ versions: versions(), ...plan });
    const { result, status, calls } = await run({ dryRun: true });
    expect(status).toBe(200);
    expect(result).toEqual({
      secret: SECRET.name,
      outcome: 'dry_run',
      version: '4',
      expiresAt: EXPIRES_AT,
      ...expected,
    });
    expect(calls).toEqual(GATHER);
  });

  test('takes the version that would be added for one that is listed', async () => {
    const { run } = setUp({
      versions: versions(),
      store: { access: inTurn({ number: 5, payload: payloadOf(5) }) },
    });
    const { result } = await run({ dryRun: true });
    expect(result).toMatchObject({ version: '5', disabled: ['2', '3', '4'] });
  });

  test('says what would stop a real one', async () => {
    const { run } = setUp({
      store: { missingPermissions: inTurn<Permission[]>(['secretmanager.versions.add']) },
    });
    const { result, status } = await run({ dryRun: true });
    expect(status).toBe(403);
    expect(result).toMatchObject({ outcome: 'failed', error: { code: 'PERMISSION_MISSING' } });
  });
});

describe('runs at the same time', () => {
  test('fifty for one secret are one', async () => {
    const { start, calls } = setUp();
    const runs = await Promise.all(Array.from({ length: 50 }, () => start()));
    expect(runs.filter(({ joined }) => !joined)).toHaveLength(1);
    expect(new Set(runs.map(({ report }) => report)).size).toBe(1);
    expect(effects(calls)).toEqual(['issue from 4', 'add', 'disable 4']);
  });

  test('one that comes later is another', async () => {
    const { start, calls } = setUp();
    await start();
    expect((await start()).joined).toBe(false);
    expect(effects(calls).filter((call) => call === 'add')).toHaveLength(2);
  });

  test('a forced one does not join a plain one: it waits for it', async () => {
    const { start, calls } = setUp({ policy: NEVER_DUE });
    const [plain, forced, alsoForced] = await Promise.all([
      start(),
      start({ force: true }),
      start({ force: true }),
    ]);
    expect(plain.report.result.outcome).toBe('not_due');
    expect(forced).toMatchObject({ joined: false, report: { result: { reason: 'forced' } } });
    expect(alsoForced).toEqual({ joined: true, report: forced.report });
    expect(calls.slice(0, 7)).toEqual([...GATHER, ...GATHER, 'issue from 4']);
  });

  test('a plain one does not join a forced one', async () => {
    const { start } = setUp({ policy: NEVER_DUE });
    const [forced, plain] = await Promise.all([start({ force: true }), start()]);
    expect(forced.report.result.outcome).toBe('rotated');
    expect(plain).toMatchObject({ joined: false, report: { result: { outcome: 'not_due' } } });
  });

  test('a dry run neither joins nor is joined', async () => {
    const { start } = setUp();
    const runs = await Promise.all([start({ dryRun: true }), start(), start({ dryRun: true })]);
    expect(runs.map(({ report, joined }) => [report.result.outcome, joined])).toEqual([
      ['dry_run', false],
      ['rotated', false],
      ['dry_run', false],
    ]);
  });

  test('each secret has its own, and its own kept key', async () => {
    const add = inTurn<Version>(error('SECRET_MANAGER_REFUSED'), version(5, 'ENABLED', NOW));
    const { start, calls } = setUp({ store: { add } });
    const [one, other] = await Promise.all([start(), start({}, OTHER)]);
    expect(one).toMatchObject({ joined: false, report: { result: { outcome: 'failed' } } });
    expect(other).toMatchObject({
      joined: false,
      report: { result: { secret: OTHER.name, outcome: 'rotated' } },
    });
    const before = calls.length;
    expect((await start({}, OTHER)).report.result.reason).toBe('every run rotates');
    expect(calls.slice(before)).toContain('issue from 4');
  });
});

describe('status', () => {
  test('tells of the newest version and its key, and of no secret', async () => {
    const versions = [version(1, 'DESTROYED'), version(2, 'DISABLED'), version(3), version(4)];
    const { rotator, calls } = setUp({ versions, policy: { renewBefore: { share: 0.2 } } });
    const { status, httpStatus } = await rotator.status(SECRET);
    expect(httpStatus).toBe(200);
    expect(status).toEqual({
      secret: SECRET.name,
      version: '4',
      state: 'ENABLED',
      ageSeconds: (5 * DAY) / SECOND,
      keyFingerprint: credential(4).fingerprint,
      expiresAt: EXPIRES_AT,
      timeLeftSeconds: (10 * DAY) / SECOND,
      nextRenewal: '2026-11-08T00:00:00.000Z',
      enabledVersions: 2,
      disabledVersions: 1,
    });
    expect(calls).toEqual(['access latest', 'list']);
  });

  test('when every run rotates and the newest version is disabled', async () => {
    const { rotator } = setUp({ versions: [version(3), version(4, 'DISABLED')] });
    expect((await rotator.status(SECRET)).status).toMatchObject({
      version: '4',
      state: 'DISABLED',
      keyFingerprint: credential(3).fingerprint,
      nextRenewal: 'every run',
    });
  });

  test.each<[ErrorCode, number, Error]>([
    ['SECRET_NOT_FOUND', 404, error('SECRET_NOT_FOUND')],
    ['SECRET_MANAGER_UNAVAILABLE', 503, UNAVAILABLE],
    ['INTERNAL', 500, new TypeError('planted')],
  ])('tells of %s', async (code, httpStatus, thrown) => {
    const { rotator, clock } = setUp({ store: { list: inTurn<never>(thrown) } });
    const answer = await rotator.status(SECRET);
    expect(answer.httpStatus).toBe(httpStatus);
    expect(answer.status).toMatchObject({ secret: SECRET.name, error: { code, step: 'gather' } });
    expect(JSON.stringify(answer.status)).not.toContain('planted');
    expect(clock.now()).toBeLessThanOrEqual(NOW + 30 * SECOND);
  });
});

test.each([
  [NOW + 10 * DAY, 10],
  [NOW + 1.26 * DAY, 1.3],
  [NOW - DAY, -1],
])('daysLeft until %d is %d', (expiresAt, days) => {
  expect(daysLeft(new Date(expiresAt).toISOString(), NOW)).toBe(days);
});

/** Version 4 was created five days ago, and its key has ten days left. */
describe('how late the version that readers use is', () => {
  const refused = { issue: () => Promise.reject(REFUSED) };
  const superseding = [[version(4)], [version(4), version(5, 'ENABLED', NOW - 0.26 * DAY)]];

  test.each<[string, SetUp, Partial<RunOptions>, [number?, number?]]>([
    ['not due', { policy: { renewBefore: { ms: 9 * DAY } } }, {}, [5, 0]],
    ['rotated', { policy: { renewBefore: { ms: 12 * DAY } } }, {}, [0, 0]],
    ['overdue', { policy: { renewBefore: { ms: 12.04 * DAY } }, issuer: refused }, {}, [5, 2]],
    ['a share', { policy: { renewBefore: { share: 0.75 } }, issuer: refused }, {}, [5, 1.3]],
    [
      'due before it existed',
      { policy: { renewBefore: { ms: 99 * DAY } }, issuer: refused },
      {},
      [5, 5],
    ],
    ['every run rotates', { issuer: refused }, {}, [5]],
    ['a dry run', { policy: { renewBefore: { ms: 12 * DAY } } }, { dryRun: true }, [5, 2]],
    [
      'not stored',
      { store: { add: () => Promise.reject(error('SECRET_MANAGER_REFUSED')) } },
      {},
      [5],
    ],
    [
      'the newest is disabled',
      { versions: [version(3), version(4, 'DISABLED')], issuer: refused },
      {},
      [6],
    ],
    [
      'superseded',
      { policy: { renewBefore: { ms: 12 * DAY } }, store: { list: inTurn(...superseding) } },
      {},
      [0.3],
    ],
    [
      'unreadable',
      { store: { access: () => Promise.resolve({ number: 4, payload: Buffer.from('?') }) } },
      {},
      [5],
    ],
    ['unseen', { store: { list: () => Promise.reject(error('SECRET_NOT_FOUND')) } }, {}, []],
    [
      'a clock that is ahead',
      { versions: [version(4, 'ENABLED', NOW + SECOND)], policy: NEVER_DUE },
      {},
      [0, 0],
    ],
  ])('%s', async (_, plan, options, [keyAgeDays, overdueDays]) => {
    const report = await setUp(plan).run(options);
    expect([report.keyAgeDays, report.overdueDays]).toEqual([keyAgeDays, overdueDays]);
  });

  test.each([{ ms: 12 * DAY }, { share: 0.5 }])(
    'a key that never expires is never due: %j',
    async (renewBefore) => {
      const payload = Buffer.from(JSON.stringify({ apiKey: v1Key('key') }));
      const { run } = setUp({
        policy: { renewBefore },
        store: { access: () => Promise.resolve({ number: 4, payload }) },
        issuer: {
          check: () => {
            throw error('KEY_NOT_REFRESHABLE');
          },
        },
      });
      expect(await run()).toMatchObject({ keyAgeDays: 5, overdueDays: 0 });
    },
  );
});
