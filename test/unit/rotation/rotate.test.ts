import type { Inspection } from '../../../src/rotation/inspect';
import type { RenewalPolicy } from '../../../src/rotation/policy';
import type { KeyCheck, KeySession, NextKey, Permission } from '../../../src/rotation/ports';
import type { Renewal } from '../../../src/rotation/renew';
import { keyInUse, rotate } from '../../../src/rotation/rotate';
import { DAY, inTurn, MINUTE, NOW, SECOND, version } from '../support';
import {
  ACCEPTED,
  effects,
  error,
  INCONCLUSIVE,
  key,
  NEW_KEY,
  NOT_DUE,
  ownKey,
  REFUSED,
  REJECTED,
  REJECTED_BY_ISSUER,
  SECRET,
  STORE_REFUSES,
  testBed,
  type Plan,
} from './test-bed';

/** Version 3 was left enabled by an earlier run, and 2 was disabled long ago. */
const LEFT_OVER: Plan = { versions: [version(2, 'DISABLED'), version(3), version(4)] };
const ALL: Partial<RenewalPolicy> = { destroyAfterMs: 0, revoke: true };
const KEYS = ['k2', 'k3', 'k4'].map((name) => ownKey(name));
const MINT: Partial<NextKey> = { by: 'mint' };
const BLOCKER = error('KEY_NOT_REFRESHABLE');
const checks =
  (answers: Record<string, KeyCheck>): Plan['check'] =>
  (keyId = '') =>
    answers[keyId] ?? ACCEPTED;

test('inspects, issues, verifies, adds, disables, destroys and revokes, in this order', async () => {
  const { run, latest } = testBed({ ...LEFT_OVER, policy: ALL, ownKeys: KEYS });
  const { result, status, calls, steps } = await run();
  expect(status).toBe(200);
  expect(result).toEqual({
    secret: 'projects/p/secrets/s',
    outcome: 'rotated',
    reason: 'every run rotates',
    version: '5',
    previousVersion: '4',
    issuedBy: 'refresh',
    keyId: 'new',
    expiresAt: '2026-12-01T00:00:00.000Z',
    verified: true,
    disabled: ['3', '4'],
    destroyed: ['2'],
    revoked: ['k2', 'k3', 'k4'],
  });
  expect(calls).toEqual([
    'issue',
    'verifyNew new',
    'add new',
    'disable 3',
    'disable 4',
    'destroy 2',
    'revoke k2',
    'revoke k3',
    'revoke k4',
  ]);
  expect(Object.keys(steps)).toEqual([
    'inspect',
    'issue',
    'verify',
    'add',
    'disable',
    'destroy',
    'revoke',
  ]);
  expect(await latest()).toBe('new');
});

test('mints the first key of an empty secret', async () => {
  const { run, latest } = testBed({ versions: [], next: MINT, secret: { role: 'r' }, policy: ALL });
  const { result, status } = await run();
  expect(status).toBe(200);
  expect(result).toEqual({
    secret: 'projects/p/secrets/s',
    outcome: 'rotated',
    reason: 'the secret is empty',
    version: '1',
    issuedBy: 'mint',
    keyId: 'new',
    expiresAt: '2026-12-01T00:00:00.000Z',
    verified: true,
  });
  expect(await latest()).toBe('new');
});

describe('keyInUse', () => {
  const { inspection } = testBed();
  const { current, newest } = inspection;
  const rotated = (number: number): Renewal => ({
    kind: 'rotated',
    issued: { credential: NEW_KEY, by: 'refresh', issuedAt: 0, newestAtIssue: 4 },
    version: version(number),
    check: ACCEPTED,
  });
  const failed = error('INTERNAL');

  test.each<[string, Renewal, Partial<Inspection>, string | undefined]>([
    ['the new one after a rotation', rotated(5), {}, 'new'],
    ['unknown when the secret was recreated', rotated(4), {}, undefined],
    ['the current one without an attempt', { kind: 'not_attempted' }, {}, 'k4'],
    [
      'the current one when none was issued',
      { kind: 'not_renewed', step: 'issue', error: failed },
      {},
      'k4',
    ],
    [
      "unknown when the newest version can't be read",
      { kind: 'not_attempted' },
      { newest: version(5, 'DISABLED') },
      undefined,
    ],
    [
      'unknown when the newest version has no key',
      { kind: 'not_attempted' },
      { current: undefined },
      undefined,
    ],
    ['unknown when somebody added a version', { kind: 'superseded', by: 5 }, {}, undefined],
    [
      'unknown when an add failed',
      { kind: 'not_stored', error: failed, isCertain: true },
      {},
      undefined,
    ],
    [
      'unknown in an empty secret',
      { kind: 'not_attempted' },
      { newest: undefined, current: undefined },
      undefined,
    ],
  ])('is %s', (_name, renewal, changes, expected) => {
    expect([current, newest]).not.toContain(undefined);
    expect(keyInUse({ ...inspection, ...changes }, renewal)?.credential.fingerprint).toBe(expected);
  });
});

describe('inspect', () => {
  test('failed: nothing is changed', async () => {
    const { result, status, calls } = await testBed({
      ...LEFT_OVER,
      store: { list: inTurn<never>(STORE_REFUSES) },
    }).run();
    expect(status).toBe(502);
    expect(result).toMatchObject({
      outcome: 'failed',
      error: { code: STORE_REFUSES.code, step: 'inspect', retryable: false },
    });
    expect(result.error?.message).toBe(
      "Test: SECRET_MANAGER_REFUSED. It isn't known whether applications are affected. Repair the test.",
    );
    expect(calls).toEqual([]);
  });

  test('asks for the permissions of all later steps', async () => {
    const asked: Permission[][] = [];
    const missingPermissions = (_: unknown, wanted: readonly Permission[]) =>
      Promise.resolve(void asked.push([...wanted])).then(() => []);
    await testBed({ policy: { destroyAfterMs: DAY }, store: { missingPermissions } }).run();
    expect(asked).toEqual([['access', 'list', 'add', 'disable', 'destroy']]);
  });

  test("doesn't begin when too little time is left to issue a key", async () => {
    const { run, clock } = testBed();
    const { result, status, calls } = await run({ deadline: clock.monotonic() + 90 * SECOND - 1 });
    expect(status).toBe(504);
    expect(result).toMatchObject({
      outcome: 'failed',
      error: { code: 'DEADLINE_EXCEEDED', retryable: true },
    });
    expect(calls).toEqual([]);
  });
});

describe('decide', () => {
  test.each([
    ['not_due', NOT_DUE, {}],
    ['already_rotated', {}, { scheduledAt: NOW - 6 * DAY }],
  ])('%s: verifies the newest key, then cleans up', async (outcome, policy, options) => {
    const { run } = testBed({ ...LEFT_OVER, policy: { ...policy, ...ALL }, ownKeys: KEYS });
    const { result, status, calls } = await run(options);
    expect(status).toBe(200);
    expect(calls).toEqual(['verifyNewest k4', 'disable 3', 'destroy 2', 'revoke k2', 'revoke k3']);
    expect(result).toMatchObject({
      outcome,
      version: '4',
      keyId: 'k4',
      verified: true,
      disabled: ['3'],
      destroyed: ['2'],
    });
    expect(result.issuedBy).toBeUndefined();
  });

  test.each([{}, NOT_DUE])('blocked under %j: fails, and cleans up', async (policy) => {
    const { run } = testBed({
      ...LEFT_OVER,
      policy: { ...policy, ...ALL },
      ownKeys: KEYS,
      next: BLOCKER,
    });
    const { result, status, calls } = await run();
    expect(status).toBe(422);
    expect(calls).toEqual(['verifyNewest k4', 'disable 3', 'destroy 2', 'revoke k2', 'revoke k3']);
    expect(result).toMatchObject({
      outcome: 'failed',
      version: '4',
      expiresAt: '2026-11-11T00:00:00.000Z',
      error: { code: 'KEY_NOT_REFRESHABLE', step: 'inspect', retryable: false },
    });
  });

  test('blocked by a missing permission: uses no token, and does what is permitted', async () => {
    const store = { missingPermissions: inTurn<Permission[]>(['disable']) };
    const { result, status, calls } = await testBed({
      ...LEFT_OVER,
      policy: ALL,
      ownKeys: KEYS,
      store,
    }).run();
    expect(status).toBe(403);
    expect(result).toMatchObject({ outcome: 'failed', error: { code: 'PERMISSION_MISSING' } });
    expect(effects(calls)).toEqual(['destroy 2', 'revoke k2']);
  });

  test('recovers a disabled newest version, with a warning', async () => {
    const { run, latest } = testBed({
      versions: [version(3), version(4, 'DISABLED')],
      policy: NOT_DUE,
    });
    const { result } = await run();
    expect(result).toMatchObject({
      outcome: 'rotated',
      version: '5',
      previousVersion: '3',
      disabled: ['3'],
    });
    expect(result.warnings).toEqual([
      expect.stringContaining('applications that read latest get an error'),
    ]);
    expect(await latest()).toBe('new');
  });

  test('cleans nothing up while the newest version is disabled and blocked: an older one is all that there is', async () => {
    const versions = [version(2), version(3), version(4, 'DISABLED')];
    const { calls, result } = await testBed({
      versions,
      policy: ALL,
      ownKeys: KEYS,
      next: BLOCKER,
    }).run();
    expect(calls).toEqual([]);
    expect(result.error?.message).toContain('Applications that read latest get an error.');
  });
});

describe('an unreadable newest version', () => {
  const UNREADABLE: Plan = { ...LEFT_OVER, unreadable: [4], policy: ALL, ownKeys: KEYS };

  test('blocks a refreshed secret, and nothing is cleaned up', async () => {
    const { result, status, calls } = await testBed(UNREADABLE).run();
    expect(status).toBe(409);
    expect(result).toMatchObject({
      outcome: 'failed',
      version: '4',
      error: { code: 'VERSION_UNREADABLE' },
    });
    expect(result.error?.message).toContain(
      "(FAILED_PRECONDITION). Applications can't read the secret.",
    );
    expect(calls).toEqual([]);
  });

  test('of a minted secret is replaced, and nothing is cleaned up', async () => {
    const { run, latest } = testBed({ ...UNREADABLE, next: MINT });
    const { result, status, calls } = await run();
    expect(status).toBe(200);
    expect(result).toMatchObject({
      outcome: 'rotated',
      version: '5',
      warnings: [expect.stringContaining('FAILED_PRECONDITION')],
    });
    expect(effects(calls)).toEqual(['issue', 'add new']);
    expect(await latest()).toBe('new');
  });
});

describe('issue', () => {
  const refuses: Plan['next'] = { issue: inTurn<never>(REFUSED) };

  test('refused: fails, verifies the current key, and cleans up', async () => {
    const { run, latest } = testBed({ ...LEFT_OVER, next: refuses });
    const { result, status, calls, keyFingerprint } = await run();
    expect(status).toBe(502);
    expect(calls).toEqual(['issue', 'verifyNewest k4', 'disable 3']);
    expect(result).toMatchObject({
      outcome: 'failed',
      version: '4',
      verified: true,
      disabled: ['3'],
      error: { code: 'REFRESH_REFUSED', step: 'issue' },
    });
    expect(result.error?.message).toContain(
      'Applications can use the current key until 2026-11-11T00:00:00.000Z.',
    );
    expect([await latest(), keyFingerprint]).toEqual(['k4', 'k4']);
  });

  test('refused, and the current key is rejected, too: tells that applications are being rejected now', async () => {
    const { result, calls } = await testBed({ next: refuses, check: () => REJECTED }).run();
    expect(result).toMatchObject({
      outcome: 'failed',
      verified: false,
      error: { code: 'REFRESH_REFUSED' },
    });
    expect(result.error?.message).toContain('Applications are being rejected now.');
    expect(calls).toContain('verifyNewest k4');
  });

  test("doesn't begin after an inspection that took too long", async () => {
    const bed = testBed({
      store: { list: () => bed.clock.sleep(10_001).then(() => ({ versions: [version(4)] })) },
    });
    const { result, calls } = await bed.run({ deadline: bed.clock.monotonic() + 100 * SECOND });
    expect(result.error).toMatchObject({ code: 'DEADLINE_EXCEEDED', step: 'issue' });
    expect(effects(calls)).toEqual([]);
  });

  test('with an unexpected error: INTERNAL, and only the log gets the cause', async () => {
    const cause = new TypeError('planted');
    const run = await testBed({ next: { issue: inTurn<never>(cause) } }).run();
    expect(run).toMatchObject({ status: 500, cause });
    expect(run.result.error).toMatchObject({ code: 'INTERNAL', step: 'issue' });
    expect(JSON.stringify(run.result)).not.toContain('planted');
  });
});

describe('verify', () => {
  test('rejected: fails, verifies the current key, and cleans up', async () => {
    const { run, latest } = testBed({ ...LEFT_OVER, check: checks({ new: REJECTED }) });
    const { result, status, calls, steps, durationMs } = await run();
    expect(status).toBe(502);
    expect(result).toMatchObject({
      outcome: 'failed',
      version: '4',
      disabled: ['3'],
      error: { code: 'NEW_KEY_REJECTED', step: 'verify' },
    });
    expect(effects(calls)).toEqual(['issue', 'disable 3']);
    expect(calls).toContain('verifyNewest k4');
    expect(steps.verify).toBe(durationMs);
    expect(await latest()).toBe('k4');
  });

  test.each<[string, Plan]>([
    ['inconclusive', { check: () => INCONCLUSIVE }],
    ['failed', { session: { verifyNew: inTurn<never>(new Error('planted')) } }],
    ['rejected, as is the current key by the same host', { check: () => REJECTED }],
  ])('%s: adds the key, which must not be lost, and cleans nothing up', async (_name, plan) => {
    const { run, latest } = testBed({ ...LEFT_OVER, policy: ALL, ownKeys: KEYS, ...plan });
    const { result, status, calls } = await run();
    expect(status).toBe(503);
    expect(result).toMatchObject({
      outcome: 'incomplete',
      version: '5',
      verified: false,
      error: { code: 'VERIFY_INCONCLUSIVE', step: 'verify', retryable: true },
    });
    expect(effects(calls)).toEqual(['issue', 'add new']);
    expect(await latest()).toBe('new');
  });

  test('inconclusive, with nothing due: only a warning', async () => {
    const { result, status } = await testBed({
      check: () => INCONCLUSIVE,
      policy: { gracePeriodMs: DAY },
    }).run();
    expect(status).toBe(200);
    expect(result).toMatchObject({ outcome: 'rotated', verified: false });
    expect(result.warnings).toHaveLength(1);
  });

  test.each<[string, Partial<NextKey>, string[], string[] | undefined]>([
    ['a refreshed key stays unsaved', { by: 'refresh' }, ['issue'], undefined],
    ['a minted key is revoked', MINT, ['issue', 'revoke new'], ['new']],
  ])(
    'with a newer version: superseded, nothing is cleaned up, and %s',
    async (_name, next, expected, revoked) => {
      const issue = () => {
        bed.versions.set(5, version(5));
        return Promise.resolve({ credential: NEW_KEY, warnings: [] });
      };
      const bed = testBed({ ...LEFT_OVER, policy: ALL, next: { ...next, issue } });
      const { result, status, calls, keyFingerprint } = await bed.run();
      expect(status).toBe(200);
      expect(result).toEqual({
        secret: 'projects/p/secrets/s',
        outcome: 'superseded',
        reason: 'version 5 was added by another process during the run',
        version: '5',
        revoked,
      });
      expect(effects(calls)).toEqual(expected);
      expect(keyFingerprint).toBeUndefined();
    },
  );

  test('off: asks nobody, and reports no verification', async () => {
    const { result, calls } = await testBed({ ...LEFT_OVER, policy: { verify: false } }).run();
    expect(calls).toEqual(['issue', 'add new', 'disable 3', 'disable 4']);
    expect([result.verified, result.warnings]).toEqual([undefined, undefined]);
  });
});

describe('a rejected newest key that is not due', () => {
  const OLD = { versions: [version(3), version(4)], policy: NOT_DUE };
  const MINTED_AND_REJECTED: Plan = { next: MINT, check: () => REJECTED };
  const listed = (state: Awaited<ReturnType<KeySession['listedState']>>) => ({
    listedState: inTurn(state),
  });

  test.each<[string, Plan]>([
    ['the list of keys lacks it', { check: checks({ k4: REJECTED }), session: listed('absent') }],
    ['the list shows it expired', { check: checks({ k4: REJECTED }), session: listed('expired') }],
    [
      "the issuer's own API rejects it, without a look at the list",
      {
        check: checks({ k4: REJECTED_BY_ISSUER }),
        session: { listedState: inTurn<never>(STORE_REFUSES) },
      },
    ],
  ])('of a minted secret is replaced when %s', async (_name, plan) => {
    const { run, latest } = testBed({ ...OLD, next: MINT, ...plan });
    const { result, calls } = await run();
    expect(result).toMatchObject({
      outcome: 'rotated',
      reason: 'The vendor rejects the newest key',
      verified: true,
      disabled: ['3', '4'],
    });
    expect(calls.slice(0, 2)).toEqual(['verifyNewest k4', 'issue']);
    expect(await latest()).toBe('new');
  });

  test.each<[string, Plan, string]>([
    [
      'the list shows a valid key',
      { next: MINT, check: () => REJECTED, session: listed('valid') },
      'cache.example.com is probably the wrong host',
    ],
    [
      "the list can't be read",
      { ...MINTED_AND_REJECTED, session: { listedState: inTurn<never>(STORE_REFUSES) } },
      "couldn't be read",
    ],
    [
      'the version is younger than an hour',
      {
        next: MINT,
        check: () => REJECTED_BY_ISSUER,
        versions: [version(3), version(4, 'ENABLED', NOW - 59 * MINUTE)],
      },
      'it is younger than an hour',
    ],
    [
      "the secret's keys are refreshed",
      { check: () => REJECTED_BY_ISSUER, session: listed('absent') },
      "its keys aren't minted",
    ],
  ])(
    'fails with NEWEST_KEY_REJECTED, and nothing is cleaned up or issued, when %s',
    async (_name, plan, reason) => {
      const { result, status, calls } = await testBed({ ...OLD, ...plan }).run();
      expect(status).toBe(409);
      expect(result).toMatchObject({
        outcome: 'failed',
        verified: false,
        error: { code: 'NEWEST_KEY_REJECTED', step: 'verify', retryable: false },
      });
      expect(result.error?.message).toContain(reason);
      expect(result.error?.message).toContain('Applications are being rejected now.');
      expect(result.error?.message).toMatch(/Check that \S+\.example\.com is the right host/);
      expect(effects(calls)).toEqual([]);
    },
  );

  test('of a refreshed secret that is due is refreshed first', async () => {
    const { result } = await testBed({ check: checks({ k4: REJECTED }) }).run();
    expect(result.outcome).toBe('rotated');
  });

  test("doesn't hide another blocker", async () => {
    const { result } = await testBed({
      ...OLD,
      next: error('ROLE_UNKNOWN'),
      check: () => REJECTED,
    }).run();
    expect(result.error?.code).toBe('ROLE_UNKNOWN');
    expect(result.error?.message).toContain('Applications are being rejected now.');
    expect(result.warnings).toEqual([expect.stringMatching(/^verify: NEWEST_KEY_REJECTED: /)]);
  });

  test('says nothing about the key of a version that somebody else adds meanwhile', async () => {
    const issue = () => {
      bed.versions.set(5, version(5));
      return Promise.resolve({ credential: NEW_KEY, warnings: [] });
    };
    const bed = testBed({
      ...OLD,
      check: checks({ k4: REJECTED_BY_ISSUER }),
      next: { by: 'mint', issue },
    });
    const { result } = await bed.run();
    expect([result.outcome, result.verified]).toEqual(['superseded', undefined]);
  });

  test('whose replacement fails is still reported as rejected', async () => {
    const { result } = await testBed({
      ...OLD,
      next: { by: 'mint', issue: inTurn<never>(error('MINT_REFUSED')) },
      check: () => REJECTED_BY_ISSUER,
    }).run();
    expect(result).toMatchObject({
      outcome: 'failed',
      verified: false,
      error: { code: 'MINT_REFUSED' },
    });
    expect(result.error?.message).toContain('Applications are being rejected now.');
  });
});

test('an inconclusive answer about a key that is not due is no error when nothing is due', async () => {
  const { result, status } = await testBed({ policy: NOT_DUE, check: () => INCONCLUSIVE }).run();
  expect(status).toBe(200);
  expect(result).toMatchObject({ outcome: 'not_due', verified: false });
});

test('an inconclusive answer about a key that is not due leaves cleanup to the next run', async () => {
  const { run } = testBed({ ...LEFT_OVER, policy: NOT_DUE, check: () => INCONCLUSIVE });
  const { result, status, calls } = await run();
  expect(status).toBe(503);
  expect(result).toMatchObject({ outcome: 'incomplete', error: { code: 'VERIFY_INCONCLUSIVE' } });
  expect(result.error?.message).toContain(
    "about the key of version 4: cache.example.com couldn't be reached (ECONNREFUSED).",
  );
  expect(effects(calls)).toEqual([]);
});

describe('add', () => {
  test('failed: keeps a refreshed credential, and disables nothing', async () => {
    const { run, unsaved } = testBed({ ...LEFT_OVER, addFails: [STORE_REFUSES] });
    const { result, status, calls } = await run();
    expect(status).toBe(503);
    expect(result).toMatchObject({
      outcome: 'failed',
      version: '4',
      keyId: 'k4',
      error: { code: 'CREDENTIAL_NOT_STORED', step: 'add', retryable: true },
    });
    expect(result.error?.message).toContain(
      'Applications can use the current key until 2026-11-11T00:00:00.000Z.',
    );
    expect(effects(calls)).toEqual(['issue', 'add new']);
    expect(unsaved.get(SECRET)?.credential).toBe(NEW_KEY);
  });

  test('failed: still revokes orphaned keys, of earlier runs too', async () => {
    const { run } = testBed({
      ...LEFT_OVER,
      policy: ALL,
      next: MINT,
      addFails: [STORE_REFUSES],
      ownKeys: [...KEYS, ownKey('earlier')],
    });
    const { result, status, calls } = await run();
    expect(status).toBe(502);
    expect(result).toMatchObject({
      outcome: 'failed',
      error: { code: STORE_REFUSES.code, step: 'add' },
      revoked: ['new', 'k2', 'earlier'],
    });
    expect(effects(calls)).toEqual([
      'issue',
      'add new',
      'revoke new',
      'revoke k2',
      'revoke earlier',
    ]);
  });

  test('failed, and the current key is rejected: revokes nothing but the new key', async () => {
    const { run } = testBed({
      ...LEFT_OVER,
      policy: ALL,
      next: MINT,
      addFails: [STORE_REFUSES],
      ownKeys: KEYS,
      check: checks({ k4: REJECTED }),
    });
    expect((await run()).result.revoked).toEqual(['new']);
  });

  test('in a secret that was recreated: nothing is cleaned up', async () => {
    const { run } = testBed({
      ...LEFT_OVER,
      policy: ALL,
      ownKeys: KEYS,
      store: { add: inTurn(version(1)) },
    });
    const { result, calls } = await run();
    expect(result).toMatchObject({
      outcome: 'rotated',
      warnings: [expect.stringContaining('the secret was recreated')],
    });
    expect(effects(calls)).toEqual(['issue', 'add new']);
  });
});

test('a failed disable makes the run incomplete, and the next run continues', async () => {
  const { run } = testBed({
    store: { disable: inTurn<boolean>(STORE_REFUSES, true) },
    policy: NOT_DUE,
  });
  const first = await run({ force: true });
  expect(first.status).toBe(503);
  expect(first.result).toMatchObject({
    outcome: 'incomplete',
    version: '5',
    error: { code: STORE_REFUSES.code, step: 'disable' },
  });
  expect(first.result.disabled).toBeUndefined();
  const second = await run();
  expect(second.calls).toEqual(['verifyNewest new', 'disable 4']);
  expect(second.result).toMatchObject({ outcome: 'not_due', disabled: ['4'] });
});

describe('another configured name of the same secret', () => {
  test('is reported with a warning, and not rotated', async () => {
    const { begin, calls } = testBed({ ...LEFT_OVER, policy: ALL, ownKeys: KEYS });
    const asked: unknown[] = [];
    const aliasOf = (name: string | undefined) =>
      Promise.resolve(void asked.push(name)).then(() => 'projects/1/secrets/s');
    const { result, status } = await rotate({ ...begin(), aliasOf });
    expect(status).toBe(200);
    expect(result).toMatchObject({
      outcome: 'not_due',
      reason: 'the same secret as projects/1/secrets/s',
      warnings: [expect.stringContaining('this secret is configured twice')],
    });
    expect(asked).toEqual(['projects/1/secrets/s']);
    expect(calls).toEqual([]);
  });
});

describe('a dry run', () => {
  const VERSIONS = [version(1, 'DISABLED'), version(2), version(3), version(4)];
  const dryRun = (plan: Plan) => testBed({ versions: VERSIONS, ...plan }).run({ dryRun: true });

  test.each<[string, Plan, object]>([
    [
      'would rotate',
      { policy: { destroyAfterMs: 0 } },
      {
        reason: 'would rotate: every run rotates',
        issuedBy: 'refresh',
        disabled: ['2', '3', '4'],
        destroyed: ['1'],
        revoked: [],
      },
    ],
    [
      'would not rotate',
      {
        policy: { ...NOT_DUE, revoke: true },
        ownKeys: ['k1', 'k2', 'k4', 'orphan'].map((name) => ownKey(name)),
      },
      {
        reason: 'would not rotate: due at 2026-11-10T23:00:00.000Z',
        verified: true,
        disabled: ['2', '3'],
        destroyed: [],
        revoked: ['k1', 'k2', 'orphan'],
      },
    ],
  ])('reports that a run %s, and changes nothing', async (_name, plan, expected) => {
    const { result, status, calls } = await dryRun(plan);
    expect(status).toBe(200);
    expect(result).toEqual({
      secret: SECRET.name,
      outcome: 'dry_run',
      version: '4',
      keyId: 'k4',
      expiresAt: '2026-11-11T00:00:00.000Z',
      ...expected,
    });
    expect(effects(calls)).toEqual([]);
  });

  test('reports that a first key would be minted', async () => {
    const { result } = await dryRun({ versions: [], secret: { role: 'r' }, next: MINT });
    expect(result).toMatchObject({
      outcome: 'dry_run',
      reason: 'would rotate: the secret is empty',
      issuedBy: 'mint',
      disabled: [],
    });
  });

  test.each<[string, Plan, number, string]>([
    [
      'a missing permission',
      { store: { missingPermissions: inTurn<Permission[]>(['add']) } },
      403,
      'PERMISSION_MISSING',
    ],
    ["a key that can't be renewed", { next: BLOCKER }, 422, 'KEY_NOT_REFRESHABLE'],
    [
      'an expired key, which a real run would try once',
      { contents: { 4: key('k4', NOW - 1) } },
      422,
      'KEY_EXPIRED',
    ],
    [
      'a rejected newest key',
      { policy: NOT_DUE, check: () => REJECTED },
      409,
      'NEWEST_KEY_REJECTED',
    ],
    [
      'a failed list',
      { store: { list: inTurn<never>(STORE_REFUSES) } },
      502,
      'SECRET_MANAGER_REFUSED',
    ],
  ])('reports %s', async (_name, plan, expected, code) => {
    const { result, status, calls } = await dryRun(plan);
    expect([result.outcome, result.error?.code, status]).toEqual(['failed', code, expected]);
    expect(effects(calls)).toEqual([]);
  });

  test('reports no expiry as a blocker when the key is minted anew', async () => {
    const { result } = await dryRun({ next: MINT, contents: { 4: key('k4', NOW - 1) } });
    expect(result).toMatchObject({
      outcome: 'dry_run',
      reason: expect.stringContaining('the key expired') as string,
    });
  });

  test('reports what would be cleaned up when a rotation is blocked', async () => {
    expect((await dryRun({ next: BLOCKER })).result).toMatchObject({
      version: '4',
      disabled: ['2', '3'],
    });
  });

  test("reports no cleanup when the newest key isn't verified", async () => {
    const { result, status } = await dryRun({
      policy: { ...NOT_DUE, ...ALL },
      ownKeys: KEYS,
      check: () => INCONCLUSIVE,
    });
    expect(status).toBe(200);
    expect(result).toMatchObject({ outcome: 'dry_run', disabled: [], destroyed: [], revoked: [] });
    expect(result.warnings).toEqual([expect.stringMatching(/^verify: VERIFY_INCONCLUSIVE: /)]);
  });
});
