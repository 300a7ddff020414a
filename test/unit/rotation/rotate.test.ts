import type { RenewalPolicy } from '../../../src/rotation/decide';
import type { Credential, Permission, Verdict } from '../../../src/rotation/ports';
import { DAY, inTurn, NOW, SECOND, version } from '../support';
import { effects, error, NOT_DUE, ownKey, REFUSED, scene, STORE_REFUSES, type Plan } from './scene';

/** Version 3 was left enabled by an earlier run, and 2 has been disabled for long. */
const LEFT_OVER = [version(2, 'DISABLED'), version(3), version(4)];
const ENDS_ALL: Partial<RenewalPolicy> = { destroyAfterMs: 0, revoke: true };
const OURS = { ownKeys: inTurn([ownKey('k2'), ownKey('k3'), ownKey('k4')]) };
const MINT: Plan['renewal'] = { by: 'mint' };

const says = (...verdicts: Verdict[]) => ({ verify: inTurn<Verdict>(...verdicts) });

test('gather -> decide -> issue -> verify -> add -> retire -> destroy -> revoke', async () => {
  const { run, latest } = scene({ versions: LEFT_OVER, policy: ENDS_ALL, session: OURS });
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
  const order = calls.map((call) => call.split(' ')[0]);
  expect([...new Set(order)]).toEqual(['issue', 'verify', 'add', 'disable', 'destroy', 'revoke']);
  expect(Object.keys(steps)).toEqual(
    ['gather', ...new Set(order)].map((name) => (name === 'disable' ? 'retire' : name)),
  );
  expect(await latest()).toBe('new');
});

describe('gather', () => {
  test('failed: nothing was spent', async () => {
    const { run } = scene({ versions: LEFT_OVER, store: { list: inTurn<never>(STORE_REFUSES) } });
    const { result, status, calls } = await run();
    expect(status).toBe(502);
    expect(result).toMatchObject({
      outcome: 'failed',
      error: { code: STORE_REFUSES.code, step: 'gather', retryable: false },
    });
    expect(calls).toEqual([]);
  });

  test.each<[Partial<RenewalPolicy>, Permission[]]>([
    [{}, ['access', 'list', 'add', 'disable']],
    [{ destroyAfterMs: DAY }, ['access', 'list', 'add', 'disable', 'destroy']],
  ])('asks for all that %j needs', async (policy, permissions) => {
    const asked: Permission[][] = [];
    const missingPermissions = (_: unknown, wanted: readonly Permission[]) => {
      asked.push([...wanted]);
      return Promise.resolve([]);
    };
    await scene({ policy, store: { missingPermissions } }).run();
    expect(asked).toEqual([permissions]);
  });

  test('is not even begun when there is no time to issue a key', async () => {
    const { run } = scene();
    const { result, status, calls } = await run({ deadline: NOW + 90 * SECOND - 1 });
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
    ['not_due', {}],
    ['already_rotated', { scheduledAt: NOW - 6 * DAY }],
  ])('%s: on to retire, with the newest key proved first', async (outcome, options) => {
    const { run } = scene({
      versions: LEFT_OVER,
      policy: { ...NOT_DUE, ...ENDS_ALL },
      session: OURS,
    });
    const { result, status, calls } = await run(options);
    expect(status).toBe(200);
    expect(calls).toEqual(['verify k4', 'disable 3', 'destroy 2', 'revoke k2', 'revoke k3']);
    expect(result).toMatchObject({
      outcome,
      version: '4',
      keyId: 'k4',
      verified: true,
      disabled: ['3'],
      destroyed: ['2'],
    });
    expect(result).not.toHaveProperty('issuedBy');
  });

  test.each<[string, Plan]>([
    ['when a rotation is due', {}],
    ['when none is', { policy: { ...NOT_DUE, ...ENDS_ALL } }],
  ])(
    'something is in the way %s: failed, and on to retire all the same',
    async (_name, changes) => {
      const renewal = error('KEY_NOT_REFRESHABLE');
      const { run } = scene({
        versions: LEFT_OVER,
        policy: ENDS_ALL,
        session: OURS,
        renewal,
        ...changes,
      });
      const { result, status, calls } = await run();
      expect(status).toBe(422);
      expect(calls).toEqual(['verify k4', 'disable 3', 'destroy 2', 'revoke k2', 'revoke k3']);
      expect(result).toMatchObject({
        outcome: 'failed',
        version: '4',
        expiresAt: '2026-11-11T00:00:00.000Z',
        disabled: ['3'],
        destroyed: ['2'],
        revoked: ['k2', 'k3'],
        error: { code: 'KEY_NOT_REFRESHABLE', step: 'gather', retryable: false },
      });
    },
  );

  test('a permission is missing: no token is spent, and what is permitted is done', async () => {
    const store = { missingPermissions: inTurn<Permission[]>(['disable']) };
    const { run } = scene({ versions: LEFT_OVER, policy: ENDS_ALL, session: OURS, store });
    const { result, status, calls } = await run();
    expect(status).toBe(403);
    expect(result).toMatchObject({ outcome: 'failed', error: { code: 'PERMISSION_MISSING' } });
    expect(effects(calls)).toEqual(['destroy 2', 'revoke k2']);
  });

  test('what goes wrong besides is a warning', async () => {
    const { run } = scene({
      versions: LEFT_OVER,
      renewal: error('ROLE_UNKNOWN'),
      session: says('rejected'),
    });
    const { result } = await run();
    expect(result.error?.code).toBe('ROLE_UNKNOWN');
    expect(result.warnings).toEqual([expect.stringMatching(/^verify: NEWEST_KEY_REJECTED: /)]);
  });

  test('the newest version is not enabled: it is warned of, and healed', async () => {
    const { run, latest } = scene({
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
    expect(result.warnings).toEqual([expect.stringContaining('readers of latest fail')]);
    expect(await latest()).toBe('new');
  });

  test('it cannot be healed: nothing ends, for an older version is all that readers have', async () => {
    const versions = [version(2), version(3), version(4, 'DISABLED')];
    const { run } = scene({
      versions,
      policy: ENDS_ALL,
      session: OURS,
      renewal: error('KEY_NOT_REFRESHABLE'),
    });
    const { calls } = await run();
    expect(calls).toEqual([]);
  });
});

describe('issue', () => {
  test('refused: failed, readers keep the old key, and what earlier runs left is ended', async () => {
    const { run, latest } = scene({
      versions: LEFT_OVER,
      renewal: { issue: inTurn<never>(REFUSED) },
    });
    const { result, status, calls, keyFingerprint } = await run();
    expect(status).toBe(502);
    expect(result).toMatchObject({
      outcome: 'failed',
      version: '4',
      disabled: ['3'],
      error: { code: 'REFRESH_REFUSED', step: 'issue' },
    });
    expect(effects(calls)).toEqual(['issue', 'disable 3']);
    expect([await latest(), keyFingerprint]).toEqual(['k4', 'k4']);
  });

  test('a refusal that another run explains is no failure', async () => {
    const list = inTurn([version(4)], [version(4), version(5)]);
    const { run } = scene({ store: { list }, renewal: { issue: inTurn<never>(REFUSED) } });
    const { result, status } = await run();
    expect(status).toBe(200);
    expect(result).toEqual({
      secret: 'projects/p/secrets/s',
      outcome: 'superseded',
      reason: 'version 5 was added by somebody else meanwhile',
      version: '5',
    });
  });

  test('not begun after a look that took too long', async () => {
    const plan: Plan = { store: { list: () => clock.sleep(10_001).then(() => [version(4)]) } };
    const { run, clock } = scene(plan);
    const { result, calls } = await run({ deadline: NOW + 100 * SECOND });
    expect(result.error).toMatchObject({ code: 'DEADLINE_EXCEEDED', step: 'issue' });
    expect(effects(calls)).toEqual([]);
  });

  test('an unforeseen error is INTERNAL, and only the log gets its cause', async () => {
    const cause = new TypeError('planted');
    const report = await scene({ renewal: { issue: inTurn<never>(cause) } }).run();
    expect(report).toMatchObject({ status: 500, cause });
    expect(report.result.error).toMatchObject({ code: 'INTERNAL', step: 'issue' });
    expect(JSON.stringify(report.result)).not.toContain('planted');
  });
});

describe('verify', () => {
  test('rejected: failed, readers keep the old key, and it is proved before anything older ends', async () => {
    const verify = ({ fingerprint }: Credential) =>
      Promise.resolve<Verdict>(fingerprint === 'new' ? 'rejected' : 'accepted');
    const { run, latest } = scene({ versions: LEFT_OVER, session: { verify } });
    const { result, status, calls, steps, durationMs } = await run();
    expect(status).toBe(502);
    expect(result).toMatchObject({
      outcome: 'failed',
      version: '4',
      disabled: ['3'],
      error: { code: 'NEW_KEY_REJECTED', step: 'verify' },
    });
    expect(effects(calls)).toEqual(['issue', 'disable 3']);
    expect(steps.verify).toBe(durationMs);
    expect(await latest()).toBe('k4');
  });

  test('rejected once, the key is asked about again in the next run, and stored', async () => {
    const verdicts: Verdict[] = ['rejected'];
    const { run, latest } = scene({ session: { verify: () => inTurn(...verdicts)() } });
    await run();
    verdicts[0] = 'accepted';
    const { result, calls } = await run();
    expect(result).toMatchObject({
      outcome: 'rotated',
      reason: 'an earlier run issued a key that is not stored yet',
    });
    expect(effects(calls)).toEqual(['add new', 'disable 4']);
    expect(await latest()).toBe('new');
  });

  test.each<[string, Plan['session'] & object]>([
    ['no clear answer', says('unclear')],
    ['the check itself fails', { verify: inTurn<never>(new Error('planted')) }],
  ])('%s: added, for it must not be lost, and nothing older ends', async (_name, session) => {
    const { run, latest } = scene({
      versions: LEFT_OVER,
      policy: ENDS_ALL,
      session: { ...OURS, ...session },
    });
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

  test('no clear answer is but a warning where there is nothing to end', async () => {
    const { run } = scene({ session: says('unclear'), policy: { gracePeriodMs: DAY } });
    const { result, status } = await run();
    expect(status).toBe(200);
    expect(result).toMatchObject({ outcome: 'rotated', verified: false });
    expect(result.warnings).toHaveLength(1);
  });

  test.each<[string, NonNullable<Plan['renewal']>, string[], object]>([
    ['ours is dropped', {}, ['issue'], {}],
    ['ours is revoked', MINT, ['issue', 'revoke new'], { revoked: ['new'] }],
  ])('a newer version was added meanwhile: superseded, %s', async (_name, renewal, done, told) => {
    const list = inTurn(LEFT_OVER, [...LEFT_OVER, version(5)]);
    const { run } = scene({ versions: LEFT_OVER, policy: ENDS_ALL, store: { list }, renewal });
    const { result, status, calls, keyFingerprint } = await run();
    expect(status).toBe(200);
    expect(result).toEqual({
      secret: 'projects/p/secrets/s',
      outcome: 'superseded',
      reason: 'version 5 was added by somebody else meanwhile',
      version: '5',
      ...told,
    });
    expect(effects(calls)).toEqual(done);
    expect(keyFingerprint).toBeUndefined();
  });

  test('VERIFY=false: nobody is asked, and nothing is told of proof', async () => {
    const { run } = scene({ versions: LEFT_OVER, policy: { verify: false } });
    const { result, calls } = await run();
    expect(calls).toEqual(['issue', 'add new', 'disable 3', 'disable 4']);
    expect(result).not.toHaveProperty('verified');
    expect(result).not.toHaveProperty('warnings');
  });
});
